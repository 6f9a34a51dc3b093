/* Graph IR: typed tensors in static single assignment, static shapes, one graph per entry point.
 *
 * A Graph owns an ordered list of Nodes (definitions before uses). A Node applies an Op
 * (ir/ops.def) to Values and defines one Value per result. Values without a defining node are graph
 * inputs: data, parameters, buffers (such as running averages) and optimizer state. Outputs are
 * named; an output may also say which input it replaces after the call ("updates"), which is how
 * parameters, buffers and state change: nothing inside a graph is ever overwritten.
 *
 * Graphs are append-only. A pass builds a new graph from an old one (graph_rewrite, or by hand with
 * a GraphMap) in the same arena; source locations travel with the nodes.
 *
 * Elementwise ops want operands of equal shape: broadcasting is an op of its own, inserted by the
 * build_* helpers, so that no pass and no lowering has to think about it.
 */
#ifndef TRICOT_IR_GRAPH_H
#define TRICOT_IR_GRAPH_H
#include "runtime/base/arena.h"
#include "runtime/base/diag.h"
#include "runtime/base/dtype.h"
#include "runtime/base/fault.h"
#include "runtime/base/map.h"
#include "runtime/base/text.h"

typedef struct Op Op;
typedef struct Node Node;
typedef struct Graph Graph;

typedef struct Value {
  Type type;
  Node *node;       /* NULL: a graph input */
  int index;        /* which result of node, or which input of the graph */
  int id;           /* dense within the graph: 0 .. graph->n_values-1 */
  const char *name; /* for people: unique within the graph, no '%' */
} Value;

typedef enum AttrKind { ATTR_NONE, ATTR_INT, ATTR_FLOAT, ATTR_INTS, ATTR_TEXT } AttrKind;

typedef struct Attr {
  AttrKind kind;
  int64_t i;
  double f;
  int n; /* of ints */
  const int64_t *ints;
  const char *text;
} Attr;

enum { MAX_ATTRS = 8 };

struct Node {
  const Op *op;
  Graph *graph;
  int n_in, n_out;
  Value **in;
  Value *out;            /* n_out values */
  Attr attrs[MAX_ATTRS]; /* in the order of the op's signature */
  Loc loc;               /* the YAML (or .tg) place that made it; kept by every pass */
  bool uncounted;        /* counts 0 FLOPs (a norm "written by hand" in the original) */
  const char *stage;     /* stage name for inspect (inherited scope), or NULL */
  Graph *body;           /* region nodes only: inputs correspond to `in`, outputs to `out` */
  int id;                /* position in the graph */
};

typedef enum Role {
  ROLE_INPUT,
  ROLE_PARAMETER,
  ROLE_BUFFER,
  ROLE_STATE,  /* the optimizer's */
  ROLE_SCRATCH /* carried between entry points within one step, never saved */
} Role;

typedef enum InitKind {
  INIT_CONSTANT, /* a */
  INIT_UNIFORM,  /* [a, b) */
  INIT_NORMAL,   /* mean a, deviation b */
  INIT_TRUNCATED /* normal, redrawn outside mean +- 2 deviations */
} InitKind;

typedef struct Init {
  InitKind kind;
  double a, b;
} Init;

typedef struct GraphInput {
  Value *value;
  Role role;
  const char *name; /* public name: "volume", "visual_transformer.encoder.s0.0.0.c1.0.weight" */
  Init init;        /* parameters, buffers, state */
  bool decay;       /* parameters: weight decay applies */
  bool frozen;      /* parameters: no gradient, no update */
  const char *stage;
  Loc loc;
} GraphInput;

typedef struct GraphOutput {
  const char *name; /* "image_latents", "loss", "grad.<parameter>", … */
  Value *value;
  const char *updates; /* name of the graph input this value replaces after the call, or NULL */
  Value *renews; /* a value that follows from one parameter alone and will be equal to this one at
                    the next call, which so need not compute it; or NULL */
  bool tap;      /* an intermediate the author named, not an output proper */
  Loc loc;
} GraphOutput;

/* Something for the caller, not for the next call? */
static inline bool output_is_result(const GraphOutput *output) {
  return !output->updates && !output->renews;
}

struct Graph {
  Arena *arena;
  const char *name; /* entry point: "encode_image", "train_step" */
  VEC(GraphInput) inputs;
  VEC(Node *) nodes;
  VEC(GraphOutput) outputs;
  int n_values;
  Map names; /* taken value names; kept by graph_name_value */
};

/* ---- building ---- */

Graph *graph_new(Arena *arena, const char *name);
Value *graph_add_input(Graph *graph, const char *name, Role role, Type type, Loc loc);
/* Finds by public name; NULL when absent. The pointer is stale after the next addition. */
GraphInput *graph_find_input(const Graph *graph, const char *name);
GraphOutput *graph_find_output(const Graph *graph, const char *name);
void graph_add_output(Graph *graph, const char *name, Value *value, const char *updates, Loc loc);
/* Names a value of this graph: `wanted` when it is free, else its stem with the next free number.
 * Characters other than letters, digits, '_', '.', '-' become '_'. Nodes start as op1, op2, … */
void graph_name_value(Graph *graph, Value *value, const char *wanted);
/* Where a value comes from: its node's place or its input's. */
Loc graph_value_loc(const Graph *graph, const Value *value);

/* Where new nodes go and what they inherit. The builder is the only way to make nodes. On a shape
 * error: with a Diag, it records a located error (naming the operand types and the places that made
 * them) and returns NULL; without one it is our own fault and aborts. Every build_* function
 * returns NULL when any operand is NULL, so errors need checking only at the end. */
typedef struct Builder {
  Graph *graph;
  Diag *diag; /* may be NULL */
  Loc loc;
  const char *stage;
  bool uncounted;
} Builder;

/* The general form: attributes as "name", value pairs in any order, ended by NULL. Values by kind:
 * int -> int64_t (cast it); float -> double; ints -> int count, const int64_t *; text -> const char
 * pointer. Absent attributes take the signature's default; without one that is our fault. */
Node *build_node(Builder *b, const char *op, int n_in, Value *const *in, ...);
/* The same with attributes already in signature order. Used by parsers and passes. */
Node *build_node_attrs(Builder *b, const Op *op, int n_in, Value *const *in, const Attr *attrs);
/* A region node: in[] feed body's inputs in order; its results are body's outputs in order. */
Node *build_region(Builder *b, int n_in, Value *const *in, Graph *body);

/* Shorthands (numpy broadcasting for the elementwise ones). */
Value *build_unary(Builder *b, const char *op, Value *x);
Value *build_binary(Builder *b, const char *op, Value *x, Value *y);
Value *build_select(Builder *b, Value *condition, Value *x, Value *y);
Value *build_constant(Builder *b, double value, Type type);
Value *build_like(Builder *b, double value, const Value *like); /* constant of the same type */
Value *build_scale(Builder *b, Value *x, double factor);        /* x * factor */
Value *build_offset(Builder *b, Value *x, double term);         /* x + term */
Value *build_reshape(Builder *b, Value *x, int rank, const int64_t *dim);
Value *build_permute(Builder *b, Value *x, const int64_t *perm);
/* numpy rules: missing leading dimensions are added (reshape), size-1 dimensions stretched. */
Value *build_broadcast(Builder *b, Value *x, int rank, const int64_t *dim);
Value *build_reduce(Builder *b, const char *op, Value *x, int n_axes, const int64_t *axes);
/* Sums over broadcast axes so that the result has `shape`'s shape: the gradient of a broadcast. */
Value *build_sum_to(Builder *b, Value *x, const Type *shape);
Value *build_matmul(Builder *b, Value *x, Value *y, bool transpose_x, bool transpose_y);

/* ---- reading ---- */

int64_t node_int(const Node *node, const char *attr);
double node_float(const Node *node, const char *attr);
const int64_t *node_ints(const Node *node, const char *attr, int *count); /* count may be NULL */
const char *node_text(const Node *node, const char *attr);
/* uses[value id] = how many node operands and graph outputs read it. Arena array. */
int *graph_count_uses(const Graph *graph, Arena *arena);
/* Hash and equality of op, attributes and result types (not operands); region nodes never equal. */
uint64_t node_hash(const Node *node);
bool node_same(const Node *a, const Node *b);

/* ---- rewriting ---- */

/* Old value id -> new value. */
typedef struct GraphMap {
  const Graph *from;
  Graph *to;
  Value **value; /* [from->n_values] */
} GraphMap;

/* A new graph of the same name with the same inputs (mapped), no nodes, no outputs. */
GraphMap graph_map_start(const Graph *from, Arena *arena);
/* Copies one node with mapped operands; returns the new node and records its results. */
Node *graph_map_copy(GraphMap *map, const Node *node);
/* Adds `from`'s outputs, mapped, to `to`; then returns it. */
Graph *graph_map_finish(GraphMap *map);

/* Rebuilds a graph node by node. `rewrite` gets each old node with its operands mapped; it either
 * fills out[0..n_out) with new values (made through `b`, which has loc and stage of the old node)
 * and returns true, or returns false to have the node copied. */
typedef bool RewriteFn(void *context, Builder *b, const Node *old, Value *const *in, Value **out);
Graph *graph_rewrite(const Graph *from, Arena *arena, RewriteFn *rewrite, void *context);

/* ---- text, checking, evaluation ---- */

/* Prints in the .tg form described in docs/graph-ir.md; parse(print(g)) prints the same text. */
void graph_print(const Graph *graph, Text *text);
/* Parses any number of graphs; NULL after errors, which are in diag with file:line:col. */
Graph **graph_parse(Arena *arena, Diag *diag, const char *path, const char *text, size_t size,
                    int *count);
/* The verifier: order, types against shape rules, names unique, updates sound, regions sound.
 * False with the first violation's text. Runs after every pass. */
bool graph_check(const Graph *graph, Error *error);
/* Does the value follow from one persistent input alone? Then it is the same until that changes. */
bool graph_view_of_one(const Graph *graph, const Value *value);

/* The reference interpreter. Every tensor is an array of double in row-major order, whatever its
 * dtype (integers are exact to 2^53). inputs[i] feeds graph->inputs.at[i]; outputs[i] receives
 * graph->outputs.at[i], arrays allocated in `arena`. */
void graph_eval(const Graph *graph, Arena *arena, double *const *inputs, double **outputs);

/* Counted operations by fvcore's rule (MACs for contractions; see each op's flops). */
double graph_flops(const Graph *graph);
#endif
