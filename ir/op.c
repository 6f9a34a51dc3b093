/* The op table and its signatures. See op.h.
 *
 * Signatures are written as text in ir/ops.def and parsed once, at the first question about any of
 * them; a mistake in one is a fault of ours.
 */
#include "ir/op.h"
#include "ir/ops/rules.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const Op table[] = {
#define OP(name, operands, results, cls, signature, shape, eval, grad, expand, flops, flags, doc)  \
  {#name, operands, results, cls, signature, shape, eval, grad, expand, flops, flags, doc},
#include "ir/ops.def"
#undef OP
};

enum { OPS = sizeof table / sizeof table[0] };

typedef struct Signature {
  int count;
  AttrSpec specs[MAX_ATTRS];
} Signature;

static Signature signatures[OPS];
static Map by_name;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void parse_default(Arena *arena, AttrSpec *spec, const char *word) {
  Attr *attr = &spec->fallback;
  spec->has_default = true;
  if (spec->kind == ATTR_INT)
    attr->i = strtoll(word, NULL, 10);
  else if (spec->kind == ATTR_FLOAT)
    attr->f = strtod(word, NULL);
  else if (spec->kind == ATTR_TEXT)
    attr->text = word;
  else if (spec->kind == ATTR_INTS) {
    int64_t *ints = ARENA_ARRAY(arena, int64_t, strlen(word) + 1);
    for (const char *at = word; *at; at += *at == ',') {
      char *end;
      ints[attr->n++] = strtoll(at, &end, 10);
      CHECK(end != at);
      at = end;
    }
    attr->ints = ints;
  }
}

/* One word of a signature: name:kind or name:kind=default. */
static void parse_spec(Arena *arena, const Op *op, AttrSpec *spec, char *word) {
  static const char *const kinds[] = {"none", "int", "float", "ints", "text"};
  char *kind = strchr(word, ':');
  if (!kind)
    FAULT("signature of %s: '%s' has no kind", op->name, word);
  *kind++ = 0;
  char *fallback = strchr(kind, '=');
  if (fallback)
    *fallback++ = 0;
  spec->name = word;
  for (int k = ATTR_INT; k <= ATTR_TEXT; k++)
    if (strcmp(kind, kinds[k]) == 0)
      spec->kind = spec->fallback.kind = (AttrKind)k;
  if (spec->kind == ATTR_NONE)
    FAULT("signature of %s: '%s' is no kind", op->name, kind);
  if (fallback)
    parse_default(arena, spec, fallback);
}

static void prepare(void) {
  Arena *arena = arena_new(); /* lives as long as the process, like the table */
  map_init(&by_name, arena);
  for (int i = 0; i < OPS; i++) {
    map_set(&by_name, table[i].name, (void *)&table[i]);
    char *text = arena_strdup(arena, table[i].signature), *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
      CHECK(signatures[i].count < MAX_ATTRS);
      parse_spec(arena, &table[i], &signatures[i].specs[signatures[i].count++], word);
    }
  }
}

const Op *op_find(const char *name) {
  pthread_once(&once, prepare);
  return map_get(&by_name, name);
}

int op_count(void) { return OPS; }

const Op *op_at(int i) {
  CHECK(i >= 0 && i < OPS);
  return &table[i];
}

int op_signature(const Op *op, const AttrSpec **specs) {
  pthread_once(&once, prepare);
  const Signature *signature = &signatures[op - table];
  *specs = signature->specs;
  return signature->count;
}

int op_attr_index(const Op *op, const char *name) {
  const AttrSpec *specs;
  int count = op_signature(op, &specs);
  for (int i = 0; i < count; i++)
    if (strcmp(specs[i].name, name) == 0)
      return i;
  return -1;
}

const Attr *call_attr(const OpCall *call, const char *name) {
  int i = op_attr_index(call->op, name);
  if (i < 0)
    FAULT("op %s has no attribute %s", call->op->name, name);
  return &call->attrs[i];
}

bool node_folds_columns(const Node *node) {
  int n;
  if (node->op->cls != OP_REDUCE)
    return false;
  const int64_t *axes = node_ints(node, "axes", &n);
  return n == 1 && axes[0] == node->in[0]->type.rank - 1;
}

bool node_sums_rows(const Node *node) {
  return node->op->cls == OP_CONTR && op_attr_index(node->op, "ta") >= 0 && node_int(node, "ta") &&
         !node_int(node, "tb") && node->out[0].type.rank == 2;
}

bool node_keeps_rows(const Node *node) {
  if (node->op->cls != OP_CONTR || node->n_in < 2)
    return false;
  const Type *x = &node->in[0]->type, *y = &node->out[0].type;
  for (int d = 0; d + 1 < y->rank; d++)
    if (x->rank != y->rank || x->dim[d] != y->dim[d])
      return false;
  if (op_attr_index(node->op, "ta") >= 0)
    return !node_int(node, "ta") && node->in[1]->type.rank == 2;
  if (op_attr_index(node->op, "taps") < 0 || op_attr_index(node->op, "size") < 0)
    return false;
  int n;
  const int64_t *taps = node_ints(node, "taps", &n);
  for (int i = 0; i < n; i++)
    if (n != 3 || taps[i] != 0)
      return false;
  for (int i = 0; i < 3; i++)
    if (node_ints(node, "stride", NULL)[i] != 1 || node_ints(node, "divisor", NULL)[i] != 1)
      return false;
  return true;
}
