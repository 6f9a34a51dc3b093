/* Finding kernels and their connections. See inspect_view.h. */
#include "driver/inspect_view.h"
#include "ir/op.h"
#include <string.h>

static const char *group_name(const View *v, const Node *region) {
  const char *path = region->loc.source ? region->loc.source->path : "";
  const char *slash = strrchr(path, '/');
  return region->stage ? region->stage : arena_strdup(v->arena, slash ? slash + 1 : path);
}

static void find_groups(View *v) {
  v->groups = ARENA_ARRAY(v->arena, ViewGroup, v->n_kernels + 1);
  v->group_of = ARENA_ARRAY(v->arena, int, v->n_kernels + 1);
  for (int k = 0; k < v->n_kernels; k++) {
    const ViewKernel *kernel = &v->kernels[k];
    const char *name = group_name(v, kernel->region);
    if (!k || strcmp(v->groups[v->n_groups - 1].name, name) != 0)
      v->groups[v->n_groups++] = (ViewGroup){.name = name, .first = k};
    ViewGroup *group = &v->groups[v->n_groups - 1];
    group->count++;
    group->flops += kernel->flops;
    group->bytes += kernel->bytes;
    v->group_of[k] = v->n_groups - 1;
  }
}

static void add_part(View *v, int step, const BuildPart *part) {
  if (!part->region)
    return;
  int *kernel = &v->kernel_of[part->region->id];
  if (*kernel < 0) {
    Loc loc = part->tile->loc;
    *kernel = v->n_kernels++;
    v->kernels[*kernel] = (ViewKernel){
        .region = part->region,
        .label = part->tile->doc,
        .place = loc.source ? arena_printf(v->arena, "%s:%d", loc.source->path, loc.line) : "",
        .first_step = step};
  }
  v->kernels[*kernel].flops += part->flops.all;
  v->kernels[*kernel].bytes += part->traffic;
}

View view_open(Arena *arena, const Compiled *compiled) {
  View v = {.arena = arena,
            .compiled = compiled,
            .entry = &compiled->plan.entries[0],
            .record = &compiled->build.records.at[0],
            .graph = compiled->build.graphs.at[0]};
  int nodes = v.graph->nodes.count;
  v.kernels = ARENA_ARRAY(arena, ViewKernel, nodes + 1);
  v.kernel_of = ARENA_ARRAY(arena, int, nodes + 1);
  for (int n = 0; n < nodes; n++)
    v.kernel_of[n] = -1;
  for (int s = 0; s < v.entry->n_steps; s++)
    for (int p = 0; p < v.record->steps[s].n_parts; p++)
      add_part(&v, s, &v.record->steps[s].parts[p]);
  find_groups(&v);
  return v;
}

int view_source(const View *view, const Value *value, const Value **source) {
  while (value->node && value->node->op->cls == OP_VIEW)
    value = value->node->in[0];
  *source = value;
  return value->node ? view->kernel_of[value->node->id] : -1;
}

const GraphInput *view_input(const View *view, const Value *value) {
  return value->node ? NULL : &view->graph->inputs.at[value->index];
}

void view_amount(double amount, char *out, size_t room) {
  static const char *const units[] = {" ", " k", " M", " G", " T"};
  int unit = 0;
  for (; amount >= 1000 && unit < 4; unit++)
    amount /= 1000;
  snprintf(out, room,
           amount < 10 && unit    ? "%.2f%s"
           : amount < 100 && unit ? "%.1f%s"
                                  : "%.0f%s",
           amount, units[unit]);
}

const char *view_place(Arena *arena, Loc loc) {
  const char *slash = loc.source ? strrchr(loc.source->path, '/') : NULL;
  return loc.source ? arena_printf(arena, "%s:%d", slash ? slash + 1 : loc.source->path, loc.line)
                    : "";
}
