/* The kernel interpreter: what the 32 lanes of a warp do together. See kernel.h.
 *
 * Fragments lie as the PTX ISA describes them for mma.m16n8k16 (section "Matrix Fragments for
 * mma.m16n8k16 with floating point type"). With g = lane / 4 and t = lane % 4:
 *   a: pairs of columns 2t, 2t + 1 in rows g, g + 8, then of columns 2t + 8, 2t + 9
 *   b: pairs of rows 2t, 2t + 1, then 2t + 8, 2t + 9, in column g
 *   c: columns 2t, 2t + 1 of row g, then of row g + 8
 * and for mma.m16n8k8 of tf32, whose c is the same:
 *   a: column t in rows g, g + 8, then column t + 4
 *   b: row t, then t + 4, in column g
 * Machines do not say in which order they add; here k ascends, with a rounding after each term, as
 * a loop of fused multiply-adds does.
 */
#include "ir/kernel_machine.h"
#include <math.h>
#include <string.h>

enum { MMA_ROWS = 16, MMA_COLUMNS = 8, MMA_DEPTH = 16 };

static float half_of(Scalar pair, int half) {
  uint16_t bits = (uint16_t)((uint64_t)pair.i >> (16 * half));
  return (float)dtype_load(DT_bf16, &bits, 0);
}

typedef struct Factors {
  int depth;
  float a[MMA_ROWS][MMA_DEPTH], b[MMA_DEPTH][MMA_COLUMNS];
} Factors;

static void take_bf16(Factors *f, int lane, const Scalar *of_a, const Scalar *of_b) {
  int g = lane / 4, t = lane % 4;
  for (int half = 0; half < 2; half++) {
    for (int i = 0; i < 4; i++)
      f->a[g + i % 2 * 8][2 * t + half + i / 2 * 8] = half_of(of_a[i], half);
    for (int i = 0; i < 2; i++)
      f->b[2 * t + half + 8 * i][g] = half_of(of_b[i], half);
  }
}

/* What a unit looks at. */
static float tf32_of(Scalar x) {
  int32_t bits;
  memcpy(&bits, &x.f, sizeof bits);
  bits &= ~0x1fff;
  memcpy(&x.f, &bits, sizeof bits);
  return x.f;
}

static void take_tf32(Factors *f, int lane, const Scalar *of_a, const Scalar *of_b) {
  int g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; i++)
    f->a[g + i % 2 * 8][t + i / 2 * 4] = tf32_of(of_a[i]);
  for (int i = 0; i < 2; i++)
    f->b[t + 4 * i][g] = tf32_of(of_b[i]);
}

static void run_mma(const Machine *m, const Stmt *s, int first) {
  bool tf32 = s->kop == K_mma_tf32;
  Factors f = {.depth = tf32 ? 8 : MMA_DEPTH};
  for (int lane = 0; lane < WARP_LANES; lane++)
    (tf32 ? take_tf32 : take_bf16)(&f, lane, machine_lanes(m, first + lane, s->value_arg[0]),
                                   machine_lanes(m, first + lane, s->value_arg[1]));
  for (int lane = 0; lane < WARP_LANES; lane++) {
    const Scalar *c = machine_lanes(m, first + lane, s->value_arg[2]);
    Scalar *d = machine_lanes(m, first + lane, s->value);
    for (int i = 0; i < 4; i++) {
      int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = c[i].f;
      for (int k = 0; k < f.depth; k++)
        sum = fmaf(f.a[row][k], f.b[k][column], sum);
      d[i].f = sum;
    }
  }
}

static int64_t pair_of(Scalar low, Scalar high) {
  Scalar args[] = {low, high};
  return kop_eval(K_pair, DT_bf16, DT_i32, args).i;
}

static bool run_matrix(Machine *m, const Stmt *s, int first) {
  Scalar element[MATRIX_ROWS][MATRIX_ROWS];
  for (int i = 0; i < s->value->width; i++) {
    for (int row = 0; row < MATRIX_ROWS; row++) {
      int thread = first + MATRIX_ROWS * i + row;
      int64_t at = machine_affine(m, thread, &s->at), cells = type_elements(&s->buffer->type);
      if (at % MATRIX_ROWS || at < 0 || at + MATRIX_ROWS > cells)
        return machine_fail(m, s, thread, "no row of 8 elements begins at %lld of %lld",
                            (long long)at, (long long)cells);
      for (int c = 0; c < MATRIX_ROWS; c++)
        if (!machine_read(m, s, thread, s->buffer, at + c, &element[row][c]))
          return false;
    }
    for (int lane = 0; lane < WARP_LANES; lane++) {
      int g = lane / 4, t = lane % 4 * 2;
      machine_lanes(m, first + lane, s->value)[i].i =
          s->turned ? pair_of(element[t][g], element[t + 1][g])
                    : pair_of(element[g][t], element[g][t + 1]);
    }
  }
  return true;
}

bool machine_warp_statement(Machine *m, const Stmt *s, int first) {
  if (s->kind == STMT_MATRIX)
    return run_matrix(m, s, first);
  run_mma(m, s, first);
  return true;
}
