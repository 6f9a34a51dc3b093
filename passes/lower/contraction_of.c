/* The descriptions of contractions: one function an op, one table. See contraction.h. */
#include "passes/lower/contraction.h"
#include <string.h>

static const Coordinate none = {-1, -1, -1, 1, 1};

static Coordinate from_out(int out) { return (Coordinate){out, -1, -1, 1, 1}; }

static Coordinate from_k(int k) { return (Coordinate){-1, k, -1, 1, 1}; }

static void describe_matmul(const Node *node, Contraction *c) {
  int rank = node->out[0].type.rank, m = rank - 2, n = rank - 1;
  int of_b = node->in[1]->type.rank; /* 2: one matrix for all rows of a grid */
  bool ta = node_int(node, "ta");
  CHECK(!node_int(node, "tb"));
  c->n_k = 1;
  c->k_extent[0] = node->in[1]->type.dim[of_b - 2];
  c->box_dims = of_b < rank ? (1u << n) - 1 : 1u << m;
  for (int d = 0; d < m; d++)
    c->a[d] = from_out(d);
  for (int d = 0; d < of_b - 2; d++)
    c->b[d] = from_out(d);
  c->a[ta ? n : m] = from_out(m);
  c->a[ta ? m : n] = from_k(0);
  c->b[of_b - 2] = from_k(0);
  c->b[of_b - 1] = from_out(n);
}

static void describe_tap_conv(const Node *node, Contraction *c) {
  const int64_t *stride = node_ints(node, "stride", NULL);
  const int64_t *divisor = node_ints(node, "divisor", NULL);
  c->n_k = 2;
  c->k_extent[0] = node->in[1]->type.dim[0];
  c->k_extent[1] = node->in[1]->type.dim[1];
  c->tap_k = 0;
  c->box_dims = 0xE; /* the three axes of space */
  c->a[0] = from_out(0);
  for (int d = 0; d < 3; d++)
    c->a[1 + d] = (Coordinate){1 + d, -1, d, stride[d], divisor[d]};
  c->a[4] = from_k(1);
  c->b[0] = from_k(0);
  c->b[1] = from_k(1);
  c->b[2] = from_out(4);
}

static void describe_tap_conv_grad_weight(const Node *node, Contraction *c) {
  const int64_t *stride = node_ints(node, "stride", NULL);
  const Type *dy = &node->in[1]->type;
  c->n_k = 4;
  for (int j = 0; j < 4; j++)
    c->k_extent[j] = dy->dim[j];
  c->tap_out = 0;
  c->box_dims = 2; /* input channels */
  c->a[0] = from_k(0);
  for (int d = 0; d < 3; d++)
    c->a[1 + d] = (Coordinate){-1, 1 + d, d, 1, 1};
  for (int d = 0; d < 3; d++)
    CHECK(stride[d] >= 1);
  c->a[4] = from_out(1);
  for (int j = 0; j < 4; j++)
    c->b[j] = from_k(j);
  c->b[4] = from_out(2);
}

static const struct {
  const char *op;
  void (*describe)(const Node *, Contraction *);
} rows[] = {
    {"matmul", describe_matmul},
    {"tap_conv", describe_tap_conv},
    {"tap_conv_grad_weight", describe_tap_conv_grad_weight},
};

Contraction contraction_of(const Node *node) {
  Contraction c = {.tap_k = -1, .tap_out = -1};
  for (int d = 0; d < MAX_RANK; d++)
    c.a[d] = c.b[d] = none;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if (strcmp(rows[i].op, node->op->name) == 0) {
      rows[i].describe(node, &c);
      return c;
    }
  FAULT("no contraction is described for op %s", node->op->name);
}
