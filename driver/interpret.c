/* Graphs as kernels. See interpret.h. */
#include "driver/interpret.h"
#include <stdio.h>

static const Graph *interpreted[INTERPRETED];

/* Arguments are the graph's inputs and then its outputs, dense, in the machine's element types. */
static void interpret(int slot, void *const *arguments) {
  const Graph *g = interpreted[slot];
  Arena *arena = arena_new();
  double **in = ARENA_ARRAY(arena, double *, g->inputs.count + 1);
  double **out = ARENA_ARRAY(arena, double *, g->outputs.count + 1);
  for (int i = 0; i < g->inputs.count; i++) {
    const Type *type = &g->inputs.at[i].value->type;
    in[i] = ARENA_ARRAY(arena, double, type_elements(type));
    for (int64_t k = 0; k < type_elements(type); k++)
      in[i][k] = dtype_load(type->dtype, arguments[i], k);
  }
  graph_eval(g, arena, in, out);
  for (int i = 0; i < g->outputs.count; i++) {
    const Type *type = &g->outputs.at[i].value->type;
    for (int64_t k = 0; k < type_elements(type); k++)
      dtype_store(type->dtype, arguments[g->inputs.count + i], k, out[i][k]);
  }
  arena_free(arena);
}

/* Ten slots whose numbers begin with this digit ("" for none). */
#define TEN_SLOTS(SLOT, tens)                                                                      \
  SLOT(tens##0)                                                                                    \
  SLOT(tens##1) SLOT(tens##2) SLOT(tens##3) SLOT(tens##4) SLOT(tens##5) SLOT(tens##6)              \
      SLOT(tens##7) SLOT(tens##8) SLOT(tens##9)
#define ALL_SLOTS(SLOT) TEN_SLOTS(SLOT, ) TEN_SLOTS(SLOT, 1) TEN_SLOTS(SLOT, 2) TEN_SLOTS(SLOT, 3)

#define DEFINE(n)                                                                                  \
  static void interpret_##n(void *const *arguments, int64_t begin, int64_t end) {                  \
    if (begin < end)                                                                               \
      interpret(n, arguments);                                                                     \
  }
ALL_SLOTS(DEFINE)
#undef DEFINE

#define NAME(n) interpret_##n,
static ProgramKernel *const slots[] = {ALL_SLOTS(NAME)};
#undef NAME
_Static_assert(sizeof slots / sizeof *slots == INTERPRETED, "one function a slot");

void interpret_set(int number, const Graph *graph) {
  CHECK(number >= 0 && number < INTERPRETED);
  interpreted[number] = graph;
}

ProgramKernel *interpret_find(const char *name) {
  int slot;
  bool ours = sscanf(name, "interpret%d", &slot) == 1 && slot >= 0 && slot < INTERPRETED;
  return ours ? slots[slot] : NULL;
}
