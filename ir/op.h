/* The op table's row type. Everything the compiler knows about an op is in its row of ir/ops.def:
 * passes look at class and flags, never at names (canonicalisation alone may know names).
 */
#ifndef TRICOT_IR_OP_H
#define TRICOT_IR_OP_H
#include "ir/graph.h"

typedef enum OpClass {
  OP_EW,        /* elementwise over equal shapes: one scalar kernel op of the same name */
  OP_SOURCE,    /* no operands: constant, iota */
  OP_VIEW,      /* pure index remapping: reshape, permute, broadcast, slice */
  OP_MOVE,      /* data movement that is not a view: concat, pad */
  OP_REDUCE,    /* fold over axes, kept as size 1 */
  OP_CONTR,     /* contraction: sum of products over some axes */
  OP_ATTENTION, /* softmax of a product, times values: blocks of keys for each block of queries */
  OP_WINDOW,    /* per-channel fold over a list of taps */
  OP_INDEX,     /* rows chosen by an index tensor */
  OP_COMPOSITE, /* defined by its expansion into the others */
  OP_FEED,      /* likewise; on a graph input seen through views, done while that is filled */
  OP_REGION     /* a fused group: carries a body graph */
} OpClass;

enum {
  OPF_COMMUTES = 1,    /* operands 0 and 1 may be swapped */
  OPF_SPATIAL = 2,     /* works on [N,C,A0,A1,A2] tensors: the layout pass rewrites it */
  OPF_GRAD_EXPAND = 4, /* differentiate the expansion */
  OPF_TAP_SUM = 8,     /* a sum over `taps`, each with its part of operand 1 along axis 0: sums of
                          such ops over one x are one op with the taps of all */
  OPF_BORDER = 32,     /* zero except near the border: takes part in another contraction's kernel */
  OPF_TAP_ZEROS = 64,  /* reads operand 0, [N,A0,A1,A2,C], at `taps` of places times `stride`, and
                          zeros outside of it */
  OPF_BY_ELEMENT = 128, /* composites: each element by itself, of operands of one shape */
  OPF_BY_ROW = 256,     /* composites: each row of operand 0 by itself, along its last axis; other
                           operands hold for all rows */
  OPF_SCATTERS = 16    /* the result is complete only when the whole op is: nothing may follow it in
                          its kernel */
};

/* What a shape rule sees: operand types and attributes. */
typedef struct OpCall {
  const Op *op;
  int n_in;
  const Type *const *in;
  const Attr *attrs; /* signature order */
  const Graph *body; /* region only, else NULL */
} OpCall;

/* Fills out[0..n_out). False with a message about shapes, in the author's words. */
typedef bool ShapeFn(const OpCall *call, Type *out, Error *error);
/* Reference evaluation: naive loops over doubles, row-major, shapes from the node's values. */
typedef void EvalFn(const Node *node, double *const *in, double *const *out);
/* Reverse mode. node and its values belong to b->graph. dout[i] is the gradient of result i or
 * NULL. Fills din[i] for operands with need[i]; leaves NULL where the gradient is zero by nature.
 */
typedef void GradFn(Builder *b, const Node *node, Value *const *dout, const bool *need,
                    Value **din);
/* Rewrites a composite into simpler ops, which may themselves be (simpler) composites: `old` has
 * attributes and types, in[] mapped operands. */
typedef void ExpandFn(Builder *b, const Node *old, Value *const *in, Value **out);
/* Counted operations of one node (fvcore's rule: MACs; norms 5 an element; elementwise 0). */
typedef double FlopsFn(const Node *node);

struct Op {
  const char *name;
  int n_in;  /* -1: one or more */
  int n_out; /* -1: as many as the region's body has outputs */
  OpClass cls;
  const char *signature; /* "stride:ints=1,1,1 groups:int=1"; kinds int float ints text; no '=':
                            required */
  ShapeFn *shape;
  EvalFn *eval;
  GradFn *grad;
  ExpandFn *expand; /* NULL unless composite or feed */
  FlopsFn *flops;
  unsigned flags;
  const char *doc; /* one line for docs and help */
};

const Op *op_find(const char *name); /* NULL when unknown */
int op_count(void);
const Op *op_at(int i);

/* The signature, parsed: names and kinds in order, defaults where given. Returns how many. */
typedef struct AttrSpec {
  const char *name;
  AttrKind kind;
  bool has_default;
  Attr fallback;
} AttrSpec;
int op_signature(const Op *op, const AttrSpec **specs);
/* Position of an attribute in the signature, -1 when the op has none of that name. */
int op_attr_index(const Op *op, const char *name);

/* A fold over exactly the last axis: done within a row. Other folds go across rows. */
bool node_folds_columns(const Node *node);
/* A contraction in which each row of the result follows from the same row of operand 0 (one matrix
 * for all rows; a convolution without neighbours). */
bool node_keeps_rows(const Node *node);
/* A contraction that sums products of two operands' rows, [P,K] and [P,N], over all rows: the
 * gradient of a matrix. */
bool node_sums_rows(const Node *node);

/* ---- shared helpers for the rules in ir/ops/ ---- */
const Attr *call_attr(const OpCall *call, const char *name);
GradFn grad_none; /* has no gradient: the gradient pass reports it at the node's place */
GradFn grad_zero; /* zero everywhere (comparisons, indices): leaves din NULL */
FlopsFn flops_zero, flops_norm;
#endif
