/* Drawing graphs as SVG: boxes in layers, curves between them. See inspect_view.h. */
#include "driver/inspect_view.h"
#include "ir/op.h"
#include "passes/lower/lower.h"
#include "runtime/job/html_page.h"
#include <string.h>

enum { LINE_HEIGHT = 13, MOST_CHARACTERS = 64 };
static const double CHARACTER = 6.7; /* of the page's letters */

typedef VEC(LayoutEdge) Edges;

typedef struct Picture {
  const View *view;
  Layout layout;
  VEC(LayoutBox) boxes;
  Edges edges;
} Picture;

static int add_box(Picture *p, double width, double height) {
  LayoutBox box = {.width = width, .height = height};
  vec_push(p->view->arena, &p->boxes, box);
  return p->boxes.count - 1;
}

/* Once; edges of one target come one after the other. */
static void add_edge(Picture *p, int from, int to) {
  LayoutEdge edge = {from, to};
  for (int e = p->edges.count - 1; e >= 0 && p->edges.at[e].to == to; e--)
    if (p->edges.at[e].from == from)
      return;
  if (from >= 0 && from != to)
    vec_push(p->view->arena, &p->edges, edge);
}

static void place(Picture *p, double widest) {
  p->layout = (Layout){.n_boxes = p->boxes.count,
                       .n_edges = p->edges.count,
                       .boxes = p->boxes.at,
                       .edges = p->edges.at,
                       .widest = widest,
                       .gap_x = 24,
                       .gap_y = 34};
  graph_layout(&p->layout);
}

/* ---- SVG ---- */

static void start_svg(const Picture *p, const char *title, Text *out) {
  text_add(out, "<svg viewBox=\"-10 -10 %.0f %.0f\" role=\"img\"><title>%s</title>\n",
           p->layout.width + 20, p->layout.height + 20, title);
}

/* All curves that leave a box are one path. */
static void draw_edges(const Picture *p, Text *out) {
  Arena *arena = arena_new();
  int n = p->boxes.count, *first = ARENA_ARRAY(arena, int, n + 1);
  int *next = ARENA_ARRAY(arena, int, p->edges.count + 1);
  for (int e = p->edges.count - 1; e >= 0; e--) { /* lists by source, from 1 */
    next[e] = first[p->edges.at[e].from];
    first[p->edges.at[e].from] = e + 1;
  }
  for (int b = 0; b < n; b++) {
    if (!first[b])
      continue;
    const LayoutBox *from = &p->boxes.at[b];
    text_add(out, "<path class=\"edge\" data-b=\"%d\" d=\"", b);
    for (int e = first[b]; e; e = next[e - 1]) {
      const LayoutBox *to = &p->boxes.at[p->edges.at[e - 1].to];
      double x0 = from->x + from->width / 2, y0 = from->y + from->height;
      double x1 = to->x + to->width / 2, y1 = to->y, bend = (y1 - y0) / 2;
      /* around what stands in between */
      double aside = y1 - y0 > 1.5 * p->layout.gap_y ? 0.55 * from->width + bend / 8 : 0;
      text_add(out, "M%.0f %.0fC%.0f %.0f %.0f %.0f %.0f %.0f", x0, y0, x0 + aside, y0 + bend,
               x1 + aside, y1 - bend, x1, y1);
    }
    text_add(out, "\"/>\n");
  }
  arena_free(arena);
}

/* The boxes that feed a box, as numbers with commas. */
static void add_sources(const Picture *p, int box, Text *out) {
  text_add(out, " data-i=\"");
  for (int e = 0, n = 0; e < p->edges.count; e++)
    if (p->edges.at[e].to == box)
      text_add(out, "%s%d", n++ ? "," : "", p->edges.at[e].from);
  text_add(out, "\"");
}

static const char *const classes[] = {
    [OP_EW] = "ew",         [OP_SOURCE] = "source", [OP_VIEW] = "move",  [OP_MOVE] = "move",
    [OP_REDUCE] = "fold",   [OP_CONTR] = "sum",     [OP_WINDOW] = "tap", [OP_INDEX] = "index",
    [OP_COMPOSITE] = "sum", [OP_ATTENTION] = "sum", [OP_REGION] = "ew"};

/* The frame of box number `b`, of number `number` of what `data` says ('k', 'g'), -1: of neither.
 * Its texts and </g> follow. */
static void start_numbered(const Picture *p, int b, const char *kind, char data, int number,
                           const char *title, Text *out) {
  const LayoutBox *box = &p->boxes.at[b];
  text_add(out, "<g class=\"box %s\" data-b=\"%d\"", kind, b);
  if (number >= 0) {
    text_add(out, " data-%c=\"%d\"", data, number);
    add_sources(p, b, out);
  }
  text_add(out, "><title>");
  html_add(out, title);
  text_add(out, "</title><rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\" rx=\"4\"/>",
           box->x, box->y, box->width, box->height);
}

static void start_box(const Picture *p, int b, const char *kind, int kernel, const char *title,
                      Text *out) {
  start_numbered(p, b, kind, 'k', kernel, title, out);
}

/* Line number `line` of a box, cut where it would leave it. */
static void add_line(const Picture *p, int b, int line, const char *style, const char *text,
                     Text *out) {
  const LayoutBox *box = &p->boxes.at[b];
  size_t room = (size_t)((box->width - 10) / CHARACTER), size = strlen(text);
  char *cut = arena_strndup(p->view->arena, text, size < room ? size : room);
  text_add(out, "<text class=\"%s\" x=\"%.0f\" y=\"%.0f\">", style, box->x + 6,
           box->y + 4 + LINE_HEIGHT * (line + 0.75));
  html_add(out, cut);
  text_add(out, "</text>");
}

static double width_for(size_t characters) {
  return 12.0 + CHARACTER * (double)(characters < MOST_CHARACTERS ? characters : MOST_CHARACTERS);
}

static double box_height(int lines) { return 9.0 + LINE_HEIGHT * lines; }

/* ---- inputs and outputs, the same in all drawings ---- */

/* Boxes 0 .. for the data inputs; box_of[input number], -1 for weights. */
static int *add_inputs(Picture *p, const Graph *g) {
  int *box_of = ARENA_ARRAY(p->view->arena, int, g->inputs.count + 1);
  for (int i = 0; i < g->inputs.count; i++) {
    const GraphInput *input = &g->inputs.at[i];
    const char *type = type_text(&input->value->type);
    size_t longest = strlen(input->name) > strlen(type) ? strlen(input->name) : strlen(type);
    box_of[i] = input->role == ROLE_INPUT ? add_box(p, width_for(longest), box_height(2)) : -1;
  }
  return box_of;
}

static void draw_inputs(const Picture *p, const Graph *g, const int *box_of, Text *out) {
  for (int i = 0; i < g->inputs.count; i++) {
    const GraphInput *input = &g->inputs.at[i];
    if (box_of[i] < 0)
      continue;
    start_box(p, box_of[i], "data", -1, arena_printf(p->view->arena, "input %s", input->name), out);
    add_line(p, box_of[i], 0, "head", input->name, out);
    add_line(p, box_of[i], 1, "note", type_text(&input->value->type), out);
    text_add(out, "</g>\n");
  }
}

/* Results, but no updates of weights: as many boxes as there are, from the returned one on. */
static int add_outputs(Picture *p, const Graph *g) {
  int first = p->boxes.count;
  for (int i = 0; i < g->outputs.count; i++)
    if (output_is_result(&g->outputs.at[i]))
      add_box(p, width_for(strlen(g->outputs.at[i].name)), box_height(1));
  return first;
}

static void draw_outputs(const Picture *p, const Graph *g, int first, Text *out) {
  for (int i = 0; i < g->outputs.count; i++) {
    const GraphOutput *output = &g->outputs.at[i];
    if (!output_is_result(output))
      continue;
    start_box(
        p, first, "data", -1,
        arena_printf(p->view->arena, "output %s %s", output->name, type_text(&output->value->type)),
        out);
    add_line(p, first++, 0, "head", output->name, out);
    text_add(out, "</g>\n");
  }
}

/* ---- the model's graph ---- */

static char *op_title(const View *v, const Node *node) {
  Text text = {0};
  text_add(&text, "%s", node->op->name);
  for (int i = 0; i < node->n_in; i++)
    text_add(&text, "%s%s", i ? ", " : " of ", type_text(&node->in[i]->type));
  for (int i = 0; i < node->n_out; i++)
    text_add(&text, "%s%s", i ? ", " : " to ", type_text(&node->out[i].type));
  const char *place_of = view_place(v->arena, node->loc);
  text_add(&text, "%s%s%s%s", *place_of ? ", at " : "", place_of, node->stage ? ", stage " : "",
           node->stage ? node->stage : "");
  char *title = arena_strdup(v->arena, text.at);
  text_free(&text);
  return title;
}

void view_model_svg(const View *v, Text *out) {
  const Graph *g = v->record->before;
  Picture p = {.view = v};
  int *inputs = add_inputs(&p, g), first = p.boxes.count;
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    size_t type = strlen(type_text(&node->out[0].type)), name = strlen(node->op->name);
    add_box(&p, width_for(type > name ? type : name), box_height(2));
    for (int i = 0; i < node->n_in; i++)
      add_edge(&p, node->in[i]->node ? first + node->in[i]->node->id : inputs[node->in[i]->index],
               first + n);
  }
  int results = add_outputs(&p, g), at = results;
  for (int i = 0; i < g->outputs.count; i++)
    if (output_is_result(&g->outputs.at[i])) {
      const Value *value = g->outputs.at[i].value;
      add_edge(&p, value->node ? first + value->node->id : inputs[value->index], at++);
    }
  place(&p, 4000);
  start_svg(&p, "the graph as the model says", out);
  draw_edges(&p, out);
  draw_inputs(&p, g, inputs, out);
  for (int n = 0; n < g->nodes.count; n++) {
    const Node *node = g->nodes.at[n];
    start_box(&p, first + n, classes[node->op->cls], -1, op_title(v, node), out);
    add_line(&p, first + n, 0, "head", node->op->name, out);
    add_line(&p, first + n, 1, "note", type_text(&node->out[0].type), out);
    text_add(out, "</g>\n");
  }
  draw_outputs(&p, g, results, out);
  text_add(out, "</svg>\n");
}

/* ---- kernels, closed or with the ops inside ---- */

/* The box a value comes from, where kernel k has box of_kernel[k]; -1: none. */
static int box_of(const View *v, const Value *value, const int *inputs, const int *of_kernel) {
  const Value *source;
  int kernel = view_source(v, value, &source);
  return kernel >= 0 ? of_kernel[kernel] : source->node ? -1 : inputs[source->index];
}

/* Edges among inputs, the boxes of kernels (which rise with their numbers), and results. */
static void connect_kernels(Picture *p, const int *inputs, const int *of_kernel, int results) {
  const View *v = p->view;
  for (int k = 0; k < v->n_kernels; k++) {
    const Node *region = v->kernels[k].region;
    for (int i = 0; i < region->n_in; i++)
      add_edge(p, box_of(v, region->in[i], inputs, of_kernel), of_kernel[k]);
  }
  for (int i = 0, at = results; i < v->graph->outputs.count; i++)
    if (output_is_result(&v->graph->outputs.at[i]))
      add_edge(p, box_of(v, v->graph->outputs.at[i].value, inputs, of_kernel), at++);
}

/* of_kernel for drawings with a box a kernel, from `first` on. */
static int *box_each(const View *v, int first) {
  int *of_kernel = ARENA_ARRAY(v->arena, int, v->n_kernels + 1);
  for (int k = 0; k < v->n_kernels; k++)
    of_kernel[k] = first + k;
  return of_kernel;
}

static const char *kernel_head(const View *v, int k) {
  const ViewKernel *kernel = &v->kernels[k];
  return arena_printf(v->arena, "%d  %s", kernel->first_step,
                      region_anchor(kernel->region)->op->name);
}

void view_kernels_svg(const View *v, Text *out) {
  Picture p = {.view = v};
  int *inputs = add_inputs(&p, v->graph), first = p.boxes.count;
  for (int k = 0; k < v->n_kernels; k++) {
    size_t type = strlen(type_text(&v->kernels[k].region->out[0].type));
    add_box(&p, width_for(type > 24 ? type : 24), box_height(3));
  }
  int results = add_outputs(&p, v->graph);
  connect_kernels(&p, inputs, box_each(v, first), results);
  place(&p, 2600);
  start_svg(&p, "the kernels", out);
  draw_edges(&p, out);
  draw_inputs(&p, v->graph, inputs, out);
  for (int k = 0; k < v->n_kernels; k++) {
    const ViewKernel *kernel = &v->kernels[k];
    const Node *anchor = region_anchor(kernel->region);
    char flops[32], bytes[32];
    view_amount(kernel->flops, flops, sizeof flops);
    view_amount(kernel->bytes, bytes, sizeof bytes);
    start_box(&p, first + k, classes[anchor->op->cls], k,
              arena_printf(v->arena, "%s, at %s", kernel->label, kernel->place), out);
    add_line(&p, first + k, 0, "head", kernel_head(v, k), out);
    add_line(&p, first + k, 1, "note", type_text(&kernel->region->out[0].type), out);
    add_line(&p, first + k, 2, "note", arena_printf(v->arena, "%sFLOP  %sB", flops, bytes), out);
    text_add(out, "</g>\n");
  }
  draw_outputs(&p, v->graph, results, out);
  text_add(out, "</svg>\n");
}

static const char *op_line(const View *v, const Node *node) {
  Text text = {0};
  text_add(&text, "%s =", node->out[0].name);
  text_add(&text, " %s", node->op->name);
  for (int i = 0; i < node->n_in; i++)
    text_add(&text, "%s %s", i ? "," : "", node->in[i]->name);
  char *line = arena_strdup(v->arena, text.at);
  text_free(&text);
  return line;
}

void view_ops_svg(const View *v, Text *out) {
  Picture p = {.view = v};
  int *inputs = add_inputs(&p, v->graph), first = p.boxes.count;
  for (int k = 0; k < v->n_kernels; k++) {
    const Graph *body = v->kernels[k].region->body;
    size_t longest = 20;
    for (int n = 0; n < body->nodes.count; n++) {
      size_t length = strlen(op_line(v, body->nodes.at[n]));
      longest = length > longest ? length : longest;
    }
    add_box(&p, width_for(longest + 1), box_height(1 + body->nodes.count));
  }
  int results = add_outputs(&p, v->graph);
  connect_kernels(&p, inputs, box_each(v, first), results);
  place(&p, 4000);
  start_svg(&p, "the ops in front of fusion, by kernel", out);
  draw_edges(&p, out);
  draw_inputs(&p, v->graph, inputs, out);
  for (int k = 0; k < v->n_kernels; k++) {
    const Graph *body = v->kernels[k].region->body;
    start_box(&p, first + k, "group", k, v->kernels[k].label, out);
    add_line(&p, first + k, 0, "head", kernel_head(v, k), out);
    for (int n = 0; n < body->nodes.count; n++) {
      const Node *node = body->nodes.at[n];
      const LayoutBox *box = &p.boxes.at[first + k];
      text_add(out, "<rect class=\"op %s\" x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%d\">",
               classes[node->op->cls], box->x + 3, box->y + 4 + LINE_HEIGHT * (n + 1),
               box->width - 6, LINE_HEIGHT - 1);
      text_add(out, "<title>");
      html_add(out, op_title(v, node));
      text_add(out, "</title></rect>");
      add_line(&p, first + k, n + 1, "op", op_line(v, node), out);
    }
    text_add(out, "</g>\n");
  }
  draw_outputs(&p, v->graph, results, out);
  text_add(out, "</svg>\n");
}

void view_groups_svg(const View *v, Text *out) {
  Picture p = {.view = v};
  int *inputs = add_inputs(&p, v->graph), first = p.boxes.count;
  int *of_kernel = ARENA_ARRAY(v->arena, int, v->n_kernels + 1);
  for (int g = 0; g < v->n_groups; g++)
    add_box(&p, width_for(24), box_height(3));
  for (int k = 0; k < v->n_kernels; k++)
    of_kernel[k] = first + v->group_of[k];
  int results = add_outputs(&p, v->graph);
  connect_kernels(&p, inputs, of_kernel, results);
  place(&p, 1600);
  start_svg(&p, "groups of kernels", out);
  draw_edges(&p, out);
  draw_inputs(&p, v->graph, inputs, out);
  for (int g = 0; g < v->n_groups; g++) {
    const ViewGroup *group = &v->groups[g];
    char flops[32], bytes[32];
    view_amount(group->flops, flops, sizeof flops);
    view_amount(group->bytes, bytes, sizeof bytes);
    start_numbered(&p, first + g, "stage", 'g', g, group->name, out);
    add_line(&p, first + g, 0, "head", group->name, out);
    add_line(&p, first + g, 1, "note",
             arena_printf(v->arena, "%d kernels from %d", group->count,
                          v->kernels[group->first].first_step),
             out);
    add_line(&p, first + g, 2, "note", arena_printf(v->arena, "%sFLOP  %sB", flops, bytes), out);
    text_add(out, "</g>\n");
  }
  draw_outputs(&p, v->graph, results, out);
  text_add(out, "</svg>\n");
}
