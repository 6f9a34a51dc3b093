/* A compiled entry point as something to look at: its kernels and what feeds what. */
#ifndef TRICOT_DRIVER_INSPECT_VIEW_H
#define TRICOT_DRIVER_INSPECT_VIEW_H
#include "driver/compile.h"
#include "driver/cuda_report.h"
#include "driver/graph_layout.h"
#include "runtime/base/text.h"

typedef struct ViewKernel { /* a region that runs every time */
  const Node *region;
  const char *label, *place;
  int first_step; /* in the plan's entry; some regions take two, some share one with others */
  double flops, bytes;
} ViewKernel;

typedef struct ViewGroup { /* kernels that run one after the other and belong together */
  const char *name;        /* their stage, or the file they come from */
  int first, count;        /* kernels */
  double flops, bytes;
} ViewGroup;

typedef struct View {
  Arena *arena;
  const Compiled *compiled; /* one entry point, built for a target that has kernels */
  const PlanEntry *entry;
  const BuildRecord *record;
  const Graph *graph; /* of regions and views */
  int n_kernels;
  ViewKernel *kernels; /* in the order they run */
  int n_groups;
  ViewGroup *groups;   /* in the order they run */
  int *group_of;       /* by kernel */
  const CudaReport *report; /* on architectures; NULL or empty: of none */
  int *kernel_of;      /* by node id of `graph`; -1: a view, or computed once from weights */
} View;

View view_open(Arena *arena, const Compiled *compiled);
/* Where a value comes from behind renamings: its kernel, or -1 and the value itself in *source. */
int view_source(const View *view, const Value *value, const Value **source);
const GraphInput *view_input(const View *view, const Value *value); /* NULL: it is none */

/* The drawings, as <svg> elements. Boxes are <g class="box"> with data-k, the kernel's number, with
 * data-g, the group's, or with a <title> alone; what leaves box B is <path class="edge"
 * data-b="B">. */
void view_model_svg(const View *view, Text *out);   /* the graph as the model says, an op a box */
void view_ops_svg(const View *view, Text *out);     /* the ops that were fused, by kernel */
void view_kernels_svg(const View *view, Text *out); /* a kernel a box */
void view_groups_svg(const View *view, Text *out);  /* a group of kernels a box */
/* The arena over the steps, and the tensors that make its peak. */
void view_memory(const View *view, Text *out);
/* The whole page. */
void view_page(const View *view, Text *out);

/* "12.3 G"; */
void view_amount(double amount, char *out, size_t room);
/* "dcformer.yaml:49", or "" */
const char *view_place(Arena *arena, Loc loc);
#endif
