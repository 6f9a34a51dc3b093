/* The page of `tricot inspect --html`: drawings, a list of kernels with their code, the memory.
 *
 * Everything is text in the page; the script only shows one drawing at a time, zooms, and copies
 * the entry of a clicked kernel beside the drawing. It has no < and no &, so that the page stays
 * well-formed XML.
 */
#include "driver/inspect_view.h"
#include "ir/op.h"
#include "runtime/job/html_page.h"
#include "runtime/region.h"
#include <string.h>

static const char style[] =
    "body{max-width:none}\n"
    ".view,#panel{height:66vh;min-height:22rem;max-height:52rem}.view{border:1px solid "
    "var(--rule);border-radius:6px;"
    "overflow:hidden;background:var(--card)}.view svg{width:100%;height:100%;max-width:none;"
    "cursor:grab;display:block;user-select:none}\n"
    ".tabs button{font:inherit;padding:.25rem .8rem;margin:0 .3rem .4rem 0;border:1px solid "
    "var(--rule);border-radius:6px;background:var(--card);color:var(--ink)}.tabs button.on{"
    "border-color:var(--a);color:var(--a);font-weight:600}\n"
    ".split{display:grid;grid-template-columns:minmax(0,1fr) minmax(20rem,30%);gap:1rem}"
    "#panel{overflow:auto;font-size:.85rem}#view-memory{max-height:36rem}\n"
    "@media(max-width:60rem){.split{grid-template-columns:1fr}#panel{height:auto}}\n"
    "pre{font:11.5px/1.4 ui-monospace,monospace;overflow-x:auto;background:var(--card);"
    "padding:.6rem;border-radius:6px}summary{cursor:pointer}\n"
    ".box rect{stroke:var(--soft);stroke-width:.8}.box.sel rect{stroke:var(--b);stroke-width:3}"
    ".box.near rect{stroke:var(--b);stroke-width:1.6}.box.sel .op,.box.near .op{stroke:none}"
    ".box text{font:11px ui-monospace,monospace;fill:#1d2430;pointer-events:none}"
    ".box .head{font-weight:700}.box .note{fill:#46505e}\n"
    ".box.data rect{fill:#fff6c9}.box.stage rect{fill:#dfe7d8}.ew "
    "rect,rect.ew{fill:#e6ebf2}.source rect,rect.source{"
    "fill:#f4f4f4}.move rect,rect.move{fill:#f7f7f4}.fold rect,rect.fold{fill:#fbdcc4}"
    ".sum rect,rect.sum{fill:#bcd9f5}.tap rect,rect.tap{fill:#bfe8d3}.index rect,rect.index{"
    "fill:#e2d2f3}.group rect{fill:#ffffff}.group rect.op{stroke:none}\n"
    ".group rect.ew{fill:#e6ebf2}.group rect.source{fill:#f4f4f4}.group rect.move{fill:#f7f7f4}"
    ".group rect.fold{fill:#fbdcc4}.group rect.sum{fill:#bcd9f5}.group rect.tap{fill:#bfe8d3}"
    ".group rect.index{fill:#e2d2f3}\n"
    ".edge{fill:none;stroke:var(--soft);stroke-width:1;opacity:.45}.edge.hot{stroke:var(--b);"
    "stroke-width:2.5;opacity:1}\n"
    ".slot{stroke:var(--page);stroke-width:.4;fill:#9dc3e6}.slot.in{fill:#f1d77a}.slot.out{"
    "fill:#a9d8b8}.slot.scratch{fill:#d0c2e8}.slot.peak{stroke:#1d2430;stroke-width:.6}"
    ".slot-name{font-size:10px;fill:#1d2430;pointer-events:none}.peak-step{fill:var(--b);"
    "opacity:.15;pointer-events:none}svg .line{pointer-events:none}\n"
    ".key span{display:inline-block;padding:0 .5rem;margin-right:.4rem;border-radius:4px;"
    "color:#1d2430;font-size:.8rem}\n";

static const char script[] =
    "<script>\n"
    "(function(){\n"
    "var views=[].slice.call(document.querySelectorAll('.view'));\n"
    "var panel=document.getElementById('panel');\n"
    "function get(svg){return svg.getAttribute('viewBox').split(' ').map(Number);}\n"
    "function set(svg,b){svg.setAttribute('viewBox',b.join(' '));}\n"
    "function fit(svg,whole){\n"
    " var all=svg.dataset.all.split(' ').map(Number),r=svg.getBoundingClientRect();\n"
    " if(r.width===0)return;\n"
    " var w=whole?Math.max(all[2],all[3]*r.width/r.height):r.width*1.15,h=w*r.height/r.width;\n"
    " var first=svg.querySelector('.box rect'),x=all[0]+all[2]/2;\n"
    " if(!whole)if(first)x=Number(first.getAttribute('x'))+Number(first.getAttribute('width'))/2;\n"
    " set(svg,[x-w/2,whole?all[1]+(all[3]-h)/2:all[1],w,h]);\n"
    "}\n"
    "views.forEach(function(view){\n"
    " var svg=view.querySelector('svg'),from=null;\n"
    " svg.dataset.all=svg.getAttribute('viewBox');\n"
    " svg.addEventListener('wheel',function(e){\n"
    "  e.preventDefault();\n"
    "  var b=get(svg),r=svg.getBoundingClientRect(),k=Math.exp(e.deltaY*0.0015);\n"
    "  var x=(e.clientX-r.left)/r.width,y=(e.clientY-r.top)/r.height;\n"
    "  set(svg,[b[0]+b[2]*x*(1-k),b[1]+b[3]*y*(1-k),b[2]*k,b[3]*k]);\n"
    " },{passive:false});\n"
    " svg.addEventListener('pointerdown',function(e){from=[e.clientX,e.clientY,get(svg)];});\n"
    " window.addEventListener('pointerup',function(){from=null;});\n"
    " window.addEventListener('pointermove',function(e){\n"
    "  if(!from)return;\n"
    "  var r=svg.getBoundingClientRect(),b=from[2],k=b[2]/r.width;\n"
    "  set(svg,[b[0]-(e.clientX-from[0])*k,b[1]-(e.clientY-from[1])*k,b[2],b[3]]);\n"
    " });\n"
    "});\n"
    "function all(root,what,then){[].slice.call(root.querySelectorAll(what)).forEach(then);}\n"
    "function mark(box){\n"
    " var svg=box.ownerSVGElement,inputs=(box.dataset.i||'').split(',');\n"
    " all(svg,'.sel,.near,.hot',function(x){x.classList.remove('sel','near','hot');});\n"
    " box.classList.add('sel');\n"
    " all(svg,'[data-b=\"'+box.dataset.b+'\"].edge',function(x){x.classList.add('hot');});\n"
    " inputs.forEach(function(n){if(n)all(svg,'.box[data-b=\"'+n+'\"]',function(x){"
    "x.classList.add('near');});});\n"
    "}\n"
    "function tell(id){\n"
    " var entry=document.getElementById(id);\n"
    " panel.innerHTML='';\n"
    " [].slice.call(entry.children).forEach(function(x){panel.appendChild(x.cloneNode(true));});\n"
    " panel.scrollTop=0;\n"
    "}\n"
    "function choose(k){\n"
    " all(document,'.box[data-k=\"'+k+'\"]',mark);\n"
    " tell('k'+k);\n"
    "}\n"
    "function visit(k){\n"
    " choose(k);\n"
    " var view=document.querySelector('.graph:not([hidden])');\n"
    " if(view.id==='view-model')show('kernels');\n"
    " if(view.id==='view-groups')show('kernels');\n"
    " view=document.querySelector('.graph:not([hidden])');\n"
    " var svg=view.querySelector('svg'),b=get(svg),r=view.querySelector('.sel rect').getBBox();\n"
    " set(svg,[r.x+r.width/2-b[2]/2,r.y+r.height/2-b[3]/3,b[2],b[3]]);\n"
    "}\n"
    "document.addEventListener('click',function(e){\n"
    " var box=e.target.closest('.box'),link=e.target.closest('a[href^=\"#k\"]');\n"
    " if(link){e.preventDefault();visit(link.getAttribute('href').slice(2));}\n"
    " else if(box){\n"
    "  if(box.dataset.k!==undefined)choose(box.dataset.k);\n"
    "  else if(box.dataset.g!==undefined){mark(box);tell('g'+box.dataset.g);}\n"
    "  else{mark(box);panel.textContent=box.querySelector('title').textContent;}\n"
    " }\n"
    "});\n"
    "function show(name){\n"
    " views.forEach(function(v){\n"
    "  if(!v.classList.contains('graph'))return;\n"
    "  v.hidden=v.id!=='view-'+name;\n"
    "  if(!v.hidden)if(!v.dataset.shown){v.dataset.shown=1;fit(v.querySelector('svg'),false);}\n"
    " });\n"
    " all(document,'.tabs "
    "[data-tab]',function(t){t.classList.toggle('on',t.dataset.tab===name);});\n"
    "}\n"
    "all(document,'.tabs [data-tab]',function(t){t.addEventListener('click',function(){"
    "show(t.dataset.tab);});});\n"
    "document.getElementById('fit').addEventListener('click',function(){\n"
    " fit(document.querySelector('.graph:not([hidden]) svg'),true);\n"
    "});\n"
    "show(location.hash.indexOf('#view-')===0?location.hash.slice(6):\n"
    " document.querySelectorAll('details').length>100?'groups':'kernels');\n"
    "fit(document.querySelector('#view-memory svg'),true);\n"
    "if(document.getElementById('k0'))choose(0);\n"
    "}());\n"
    "</script>\n";

/* ---- one kernel ---- */

static void add_link(const View *v, int kernel, Text *out) {
  text_add(out, "<a href=\"#k%d\">%d</a>", kernel, v->kernels[kernel].first_step);
}

/* Where the operand comes from: a step, a named input, weights. */
static void add_operand(const View *v, const Node *region, int i, Text *out) {
  const Value *value = region->in[i];
  const Value *source;
  int kernel = view_source(v, value, &source);
  const GraphInput *input = view_input(v, source);
  text_add(out, "<tr><td>");
  html_add(out, region->body->inputs.at[i].value->name);
  text_add(out, "</td><td>%s</td><td>", type_text(&value->type));
  if (kernel >= 0) {
    text_add(out, "step ");
    add_link(v, kernel, out);
  } else if (input) {
    static const char *const roles[] = {"input", "parameter", "buffer", "state", "scratch"};
    text_add(out, "%s ", roles[input->role]);
    html_add(out, input->name);
  } else {
    text_add(out, "derived from weights, once");
  }
  text_add(out, "</td></tr>\n");
}

/* Who reads the value: steps, and outputs by name. */
static void add_readers(const View *v, const Value *value, Text *out) {
  const Value *source;
  int count = 0;
  for (int k = 0; k < v->n_kernels; k++) {
    const Node *region = v->kernels[k].region;
    bool reads = false;
    for (int i = 0; i < region->n_in; i++)
      reads |= view_source(v, region->in[i], &source) >= 0 && source == value;
    if (!reads)
      continue;
    text_add(out, "%s", count++ ? ", " : "to step ");
    add_link(v, k, out);
  }
  for (int i = 0; i < v->graph->outputs.count; i++) {
    const GraphOutput *output = &v->graph->outputs.at[i];
    view_source(v, output->value, &source);
    if (source != value)
      continue;
    text_add(out, "%s%s ", count++ ? ", " : "",
             output->updates  ? "updates"
             : output->renews ? "renews"
                              : "output");
    html_add(out, output->updates ? output->updates : output->name);
  }
}

static void add_values(const View *v, const Node *region, Text *out) {
  text_add(out, "<h3>Reads</h3><div class=\"wide\"><table class=\"facts\">");
  for (int i = 0; i < region->n_in; i++)
    add_operand(v, region, i, out);
  text_add(out, "</table></div><h3>Writes</h3><div class=\"wide\"><table class=\"facts\">");
  for (int i = 0; i < region->n_out; i++) {
    text_add(out, "<tr><td>");
    html_add(out, region->body->outputs.at[i].value->name);
    text_add(out, "</td><td>%s</td><td>", type_text(&region->out[i].type));
    add_readers(v, &region->out[i], out);
    text_add(out, "</td></tr>\n");
  }
  text_add(out, "</table></div>");
}

static void add_ops(const View *v, const Node *region, Text *out) {
  text_add(out, "<h3>Ops</h3><div class=\"wide\"><table class=\"facts\">");
  for (int n = 0; n < region->body->nodes.count; n++) {
    const Node *node = region->body->nodes.at[n];
    text_add(out, "<tr><td>%s</td><td>", node->op->name);
    for (int i = 0; i < node->n_in; i++) {
      text_add(out, "%s", i ? ", " : "");
      html_add(out, node->in[i]->name);
    }
    text_add(out, "</td><td>");
    html_add(out, node->out[0].name);
    text_add(out, " : %s</td><td>", type_text(&node->out[0].type));
    html_add(out, view_place(v->arena, node->loc));
    text_add(out, "</td></tr>\n");
  }
  text_add(out, "</table></div>");
}

/* The text of a step's part, or who has the same. */
static void add_code(const View *v, int step, int part, const int *first_with, Text *out) {
  const PlanStep *plan = &v->entry->steps[step];
  const BuildStep *from = &v->record->steps[step];
  Text code = {0};
  text_add(out, "<h3>Kernel %s, ", v->compiled->plan.kernels[plan->kernel]);
  if (from->n_parts > 1)
    text_add(out, "of step %d: part %d of %d, %lld of %lld blocks</h3>", step, part + 1,
             from->n_parts, (long long)kernel_blocks(from->parts[part].tile),
             (long long)plan->blocks);
  else
    text_add(out, "%lld blocks</h3>", (long long)plan->blocks);
  if (first_with[plan->kernel] != step) {
    const Node *other = v->record->steps[first_with[plan->kernel]].parts[part].region;
    text_add(out, "<p>The code of step ");
    add_link(v, v->kernel_of[other->id], out);
    text_add(out, ".</p>");
    return;
  }
  kernel_print(from->parts[part].tile, &code);
  text_add(out, "<pre>");
  html_add(out, code.at);
  text_add(out, "</pre>");
  text_free(&code);
}

/* Of the compiled kernel, on each architecture. */
static void add_needs(const View *v, int number, Text *out) {
  char arch[CUDA_ARCH_TEXT];
  for (int a = 0; v->report && a < v->report->n_archs; a++) {
    const char *words = cuda_report_words(v->arena, v->report, number, a);
    if (words)
      html_fact(out, cuda_arch_text(v->report->archs[a], false, arch), words);
  }
}

static void add_kernel(const View *v, int k, const int *first_with, Text *out) {
  const ViewKernel *kernel = &v->kernels[k];
  char flops[32], bytes[32];
  view_amount(kernel->flops, flops, sizeof flops);
  view_amount(kernel->bytes, bytes, sizeof bytes);
  text_add(out, "<details id=\"k%d\"><summary><b>%d</b> ", k, kernel->first_step);
  html_add(out, kernel->label);
  text_add(out, " <span class=\"soft\">%s, %sFLOP, %sB</span></summary>\n<table class=\"facts\">",
           type_text(&kernel->region->out[0].type), flops, bytes);
  html_fact(out, "place", kernel->place);
  if (kernel->region->stage)
    html_fact(out, "stage", kernel->region->stage);
  html_fact(out, "executed",
            arena_printf(v->arena, "%sFLOP, %.2f a byte", flops,
                         kernel->bytes > 0 ? kernel->flops / kernel->bytes : 0));
  html_fact(out, "must move", arena_printf(v->arena, "%sB", bytes));
  add_needs(v, v->entry->steps[kernel->first_step].kernel, out);
  text_add(out, "</table>");
  add_values(v, kernel->region, out);
  add_ops(v, kernel->region, out);
  for (int s = kernel->first_step; s < v->entry->n_steps; s++)
    for (int p = 0; p < v->record->steps[s].n_parts; p++)
      if (v->record->steps[s].parts[p].region == kernel->region)
        add_code(v, s, p, first_with, out);
  text_add(out, "</details>\n");
}

/* A group's kernels, for the panel. */
static void add_group(const View *v, int g, Text *out) {
  const ViewGroup *group = &v->groups[g];
  char flops[32], bytes[32];
  view_amount(group->flops, flops, sizeof flops);
  view_amount(group->bytes, bytes, sizeof bytes);
  text_add(out, "<div id=\"g%d\" hidden=\"hidden\"><b>", g);
  html_add(out, group->name);
  text_add(out, "</b><p class=\"soft\">%d kernels, %sFLOP, %sB</p><table class=\"facts\">\n",
           group->count, flops, bytes);
  for (int k = group->first; k < group->first + group->count; k++) {
    text_add(out, "<tr><td>");
    add_link(v, k, out);
    text_add(out, "</td><td>");
    html_add(out, v->kernels[k].label);
    text_add(out, "</td></tr>\n");
  }
  text_add(out, "</table></div>\n");
}

static void add_kernels(const View *v, Text *out) {
  int *first_with = ARENA_ARRAY(v->arena, int, v->compiled->plan.n_kernels + 1);
  for (int s = v->entry->n_steps - 1; s >= 0; s--)
    if (v->record->steps[s].n_parts)
      first_with[v->entry->steps[s].kernel] = s;
  text_add(out, "<section id=\"kernels\"><h2>Kernels</h2>\n");
  for (int k = 0; k < v->n_kernels; k++)
    add_kernel(v, k, first_with, out);
  for (int g = 0; g < v->n_groups; g++)
    add_group(v, g, out);
  text_add(out, "</section>\n");
}

/* ---- the page ---- */

static void add_facts(const View *v, Text *out) {
  const Plan *plan = &v->compiled->plan;
  Arena *arena = v->arena;
  double flops = 0, moved = 0, persistent = 0;
  char a[32], b[32], c[32];
  for (int s = 0; s < v->entry->n_steps; s++) {
    flops += v->entry->steps[s].flops;
    moved += v->entry->steps[s].traffic;
  }
  for (int i = 0; i < plan->n_tensors; i++)
    persistent += (double)type_bytes(&plan->tensors[i].type);
  text_add(out, "<table class=\"facts\">");
  html_fact(out, "entry point", arena_printf(arena, "%s, for %s", v->entry->name, plan->level));
  html_fact(out, "graph",
            arena_printf(arena,
                         "%d ops in the model, %d kernels in %d steps, and %d once for "
                         "derived weights; layout conversions between kernels: %d",
                         v->record->before->nodes.count, v->n_kernels, v->entry->n_steps,
                         v->entry->n_prepare, plan_conversions(v->entry)));
  view_amount(flops, a, sizeof a);
  view_amount(moved, b, sizeof b);
  html_fact(out, "a run", arena_printf(arena, "%sFLOP executed, %sB to move", a, b));
  bytes_text((double)v->entry->arena_bytes, a, sizeof a);
  bytes_text(persistent, b, sizeof b);
  bytes_text((double)v->entry->prepared_bytes, c, sizeof c);
  html_fact(
      out, "memory",
      arena_printf(arena, "%s working memory, %s weights and state, %s derived weights", a, b, c));
  text_add(out, "</table>\n");
}

static void add_graphs(const View *v, Text *out) {
  text_add(
      out,
      "<section id=\"graph\"><h2>Graph</h2>\n<div class=\"tabs\">"
      "<button data-tab=\"model\">as the model says</button>"
      "<button data-tab=\"ops\">before fusion, by kernel</button>"
      "<button data-tab=\"kernels\">after fusion</button>"
      "<button data-tab=\"groups\">stages</button><button id=\"fit\">all of it</button>"
      "</div>\n<p class=\"key\"><span style=\"background:#bcd9f5\">sums of products</span>"
      "<span style=\"background:#bfe8d3\">windows</span><span style=\"background:#fbdcc4\">"
      "reductions</span><span style=\"background:#e6ebf2\">elementwise</span>"
      "<span style=\"background:#e2d2f3\">rows by index</span><span style=\"background:#f7f7f4\">"
      "views and moves</span><span style=\"background:#fff6c9\">inputs and outputs</span></p>\n"
      "<div class=\"split\"><div>\n<div class=\"view graph\" id=\"view-model\">");
  view_model_svg(v, out);
  text_add(out, "</div>\n<div class=\"view graph\" id=\"view-ops\">");
  view_ops_svg(v, out);
  text_add(out, "</div>\n<div class=\"view graph\" id=\"view-kernels\">");
  view_kernels_svg(v, out);
  text_add(out, "</div>\n<div class=\"view graph\" id=\"view-groups\">");
  view_groups_svg(v, out);
  text_add(out, "</div>\n<p class=\"soft\">Wheel: zoom. Drag: move. Click a box: what it is; its "
                "edges and what it reads are marked. Numbers are steps.</p></div>\n"
                "<div id=\"panel\">Click a kernel.</div></div></section>\n");
}

void view_page(const View *v, Text *out) {
  const Plan *plan = &v->compiled->plan;
  html_start(out, "", plan->model, style);
  if (*plan->variant) {
    text_add(out, ", ");
    html_add(out, plan->variant);
  }
  text_add(out, ": ");
  html_add(out, v->entry->name);
  text_add(out, "</h1>\n");
  add_facts(v, out);
  add_graphs(v, out);
  text_add(out, "<section id=\"memory\"><h2>Memory</h2>\n");
  view_memory(v, out);
  text_add(out, "</section>\n");
  add_kernels(v, out);
  text_add(out, "%s", script);
  html_end(out);
}
