/* The transforms of winograd.h, as statements on tiles. */
#include "passes/lower/winograd.h"

static Tile *number(Frame *frame, double x) { return frame_fill(frame, x, DT_f32, false, false); }

static Tile *add(Frame *frame, Tile *a, Tile *b) { return frame_map(frame, K_add, a, b, NULL); }

static Tile *sub(Frame *frame, Tile *a, Tile *b) { return frame_map(frame, K_sub, a, b, NULL); }

static Tile *times(Frame *frame, double x, Tile *a) {
  return frame_map(frame, K_mul, a, number(frame, x), NULL);
}

/* a + x * b */
static Tile *add_times(Frame *frame, Tile *a, double x, Tile *b) {
  return frame_map(frame, K_fma, b, number(frame, x), a);
}

/* The points are 0, +-P, +-Q and infinity. Products with their powers are exact in binary, and the
 * error is two thirds of that with 1 and 2 (measured; Barabasz et al., arXiv 1803.10986, on
 * points).
 */
#define P (5.0 / 8)
#define Q (3.0 / 2)
#define OF_P (1 / (2 * P * P * (P * P - Q * Q)))
#define OF_Q (1 / (2 * Q * Q * (Q * Q - P * P)))
static const double factor[WINOGRAD_POINTS][3] = {
    {1 / (P * P * Q * Q), 0, 0}, {OF_P, OF_P *P, OF_P *P *P},  {OF_P, -OF_P *P, OF_P *P *P},
    {OF_Q, OF_Q *Q, OF_Q *Q *Q}, {OF_Q, -OF_Q *Q, OF_Q *Q *Q}, {0, 0, 1}};

/* B^T d: values at the points of the polynomial with coefficients d, but for factors. */
void winograd_input(Frame *f, Tile *const *d, Tile **v) {
  Tile *even_p = add_times(f, d[4], -Q * Q, d[2]), *odd_p = add_times(f, d[3], -Q * Q, d[1]);
  Tile *even_q = add_times(f, d[4], -P * P, d[2]), *odd_q = add_times(f, d[3], -P * P, d[1]);
  double sum = P * P + Q * Q, product = P * P * Q * Q;
  v[0] = add_times(f, add_times(f, d[4], -sum, d[2]), product, d[0]);
  v[1] = add_times(f, even_p, P, odd_p);
  v[2] = add_times(f, even_p, -P, odd_p);
  v[3] = add_times(f, even_q, Q, odd_q);
  v[4] = add_times(f, even_q, -Q, odd_q);
  v[5] = add_times(f, add_times(f, d[5], -sum, d[3]), product, d[1]);
}

/* A^T m */
void winograd_output(Frame *f, Tile *const *m, Tile **y) {
  Tile *even_p = add(f, m[1], m[2]), *odd_p = sub(f, m[1], m[2]);
  Tile *even_q = add(f, m[3], m[4]), *odd_q = sub(f, m[3], m[4]);
  y[0] = add(f, m[0], add(f, even_p, even_q));
  y[1] = add_times(f, times(f, P, odd_p), Q, odd_q);
  y[2] = add_times(f, times(f, P * P, even_p), Q * Q, even_q);
  y[3] = add_times(f, add_times(f, m[5], P * P * P, odd_p), Q * Q * Q, odd_q);
}

/* G g; absent taps are NULL. */
void winograd_weights(Frame *f, Tile *const *g, Tile **u) {
  for (int p = 0; p < WINOGRAD_POINTS; p++) {
    u[p] = NULL;
    for (int t = 0; t < 3; t++)
      if (g[t] && factor[p][t] != 0)
        u[p] = u[p] ? add_times(f, u[p], factor[p][t], g[t]) : times(f, factor[p][t], g[t]);
  }
}

/* A dy, the adjoint of winograd_output. */
void winograd_gradient(Frame *f, Tile *const *dy, Tile **y) {
  Tile *even_p = add_times(f, dy[0], P * P, dy[2]), *even_q = add_times(f, dy[0], Q * Q, dy[2]);
  Tile *odd_p = add_times(f, times(f, P, dy[1]), P * P * P, dy[3]);
  Tile *odd_q = add_times(f, times(f, Q, dy[1]), Q * Q * Q, dy[3]);
  y[0] = dy[0];
  y[1] = add(f, even_p, odd_p);
  y[2] = sub(f, even_p, odd_p);
  y[3] = add(f, even_q, odd_q);
  y[4] = sub(f, even_q, odd_q);
  y[5] = dy[3];
}

/* G^T m, the adjoint of winograd_weights. */
void winograd_weights_gradient(Frame *f, Tile *const *m, Tile **g) {
  for (int t = 0; t < 3; t++) {
    g[t] = NULL;
    for (int p = 0; p < WINOGRAD_POINTS; p++)
      if (factor[p][t] != 0)
        g[t] = g[t] ? add_times(f, g[t], factor[p][t], m[p]) : times(f, factor[p][t], m[p]);
  }
}
