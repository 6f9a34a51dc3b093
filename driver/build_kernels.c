/* The kernels of a build, each of which is kept once. See build_kernels.h. */
#include "driver/build_kernels.h"
#include <stdio.h>
#include <string.h>

int build_kernel(Build *build, Kernel *kernel) {
  if (build->options.interpret) { /* a name and nothing in it */
    vec_push(build->arena, &build->kernels, kernel);
    return build->kernels.count - 1;
  }
  for (int i = 0; i < kernel->n_arguments; i++) /* equal kernels must not differ by value names */
    kernel->buffers.at[i]->name = arena_printf(build->arena, "a%d", i);
  Kernel plain = *kernel;
  plain.name = "kernel";
  plain.doc = "";
  plain.loc = (Loc){0};
  Text text = {0};
  kernel_print(&plain, &text);
  for (int i = 0; i < build->texts.count; i++)
    if (strcmp(build->texts.at[i], text.at) == 0) {
      text_free(&text);
      return i;
    }
  vec_push(build->arena, &build->texts, arena_strdup(build->arena, text.at));
  text_free(&text);
  kernel->name = arena_printf(build->arena, "k%d_%s", build->kernels.count, kernel->name);
  vec_push(build->arena, &build->kernels, kernel);
  return build->kernels.count - 1;
}

static Access all_columns(Buffer *buffer, const IndexVar *block, int columns) {
  Access access = {.buffer = buffer, .rank = 1};
  access.dim[0] = (AccessDim){.at = affine_var(block, columns), .col = 1, .divisor = 1};
  return access;
}

Kernel *build_copy_kernel(Arena *arena, int64_t bytes) {
  enum { COLUMNS = 1024 };
  int64_t elements = bytes / 4;
  int columns = elements < COLUMNS ? (int)elements : COLUMNS;
  Type type = {.dtype = DT_i32, .rank = 1, .dim = {elements}};
  Kernel *kernel = kernel_new(arena, "copy", STAGE_TILE);
  kernel->doc = "copy";
  Buffer *from = kernel_argument(kernel, "from", type, false);
  Buffer *to = kernel_argument(kernel, "to", type, true);
  IndexVar *block = kernel_grid(kernel, "i", (elements + columns - 1) / columns);
  Stmt *load = stmt_add(kernel, &kernel->body, STMT_TILE_LOAD);
  load->tile = kernel_tile(kernel, "t", DT_i32, 0, NULL, columns);
  load->access = all_columns(from, block, columns);
  Stmt *store = stmt_add(kernel, &kernel->body, STMT_TILE_STORE);
  store->tile_arg[0] = load->tile;
  store->access = all_columns(to, block, columns);
  return kernel;
}

void build_dump_kernel(const Build *build, const Kernel *kernel) {
  Text text = {0};
  kernel_print(kernel, &text);
  fputs(text.at, build->options.passes.dump_to);
  text_free(&text);
}

/* Kernels compute in f32 and move integers; the interpreter takes everything. */
bool build_types_supported(Build *build, const Graph *graph) {
  for (int n = -1; n < graph->nodes.count; n++) {
    const Node *node = n < 0 ? NULL : graph->nodes.at[n];
    int count = node ? node->n_out : graph->inputs.count;
    for (int i = 0; i < count; i++) {
      const Type *type = node ? &node->out[i].type : &graph->inputs.at[i].value->type;
      if (dtype_is_float(type->dtype) && type->dtype != DT_f32)
        return diag_error(build->diag, node ? node->loc : graph->inputs.at[i].loc,
                          "%s: kernels compute in f32 (the target interp takes every type)",
                          type_text(type));
    }
  }
  return true;
}

const PlanResult *build_results(Arena *arena, const Kernel *kernel, int *count) {
  PlanResult *results = ARENA_ARRAY(arena, PlanResult, kernel->n_arguments);
  *count = 0;
  for (int i = 0; i < kernel->n_arguments; i++) {
    const Type *type = &kernel->buffers.at[i]->type;
    if (kernel->buffers.at[i]->written && (type->dtype == DT_f32 || type->dtype == DT_bf16))
      results[(*count)++] = (PlanResult){i, type_elements(type), type->dtype};
  }
  return results;
}
