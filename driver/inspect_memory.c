/* The arena as a picture: steps to the right, offsets downwards, a rectangle a tensor; and the
 * tensors that are alive where most is. See inspect_view.h. */
#include "driver/inspect_view.h"
#include "runtime/job/html_page.h"
#include "runtime/region.h"
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1200, HEIGHT = 520, LEFT = 70, TOP = 10, BOTTOM = 34, TICKS = 8 };

typedef struct Span { /* a slot over the plan's steps: first to last, both inclusive */
  int slot, first, last;
} Span;

typedef struct Memory {
  const View *view;
  int steps; /* of the plan, and one more for what stays */
  int n_spans;
  Span *spans;
  int64_t *alive; /* bytes by step */
  int peak;       /* the step with most */
} Memory;

/* Nodes to steps; what is read by the caller stays to the end. */
static Memory spans_of(const View *v) {
  Memory m = {.view = v, .steps = v->entry->n_steps + 1, .n_spans = v->record->n_slots};
  const int *first_step = v->record->first_step, *last_step = v->record->last_step;
  int nodes = v->graph->nodes.count;
  m.spans = ARENA_ARRAY(v->arena, Span, m.n_spans + 1);
  m.alive = ARENA_ARRAY(v->arena, int64_t, m.steps + 1);
  for (int i = 0; i < m.n_spans; i++) {
    const MemorySlot *slot = &v->record->slots[i];
    Span span = {i, slot->first < 0 ? 0 : first_step[slot->first < nodes ? slot->first : nodes],
                 slot->last >= nodes ? m.steps - 1 : last_step[slot->last]};
    span.last = span.last > span.first ? span.last : span.first;
    m.spans[i] = span;
    for (int s = span.first; s <= span.last; s++)
      m.alive[s] += slot->bytes;
  }
  for (int s = 0; s < m.steps; s++)
    if (m.alive[s] > m.alive[m.peak])
      m.peak = s;
  return m;
}

static double at_step(const Memory *m, double step) {
  return LEFT + (WIDTH - LEFT - 10) * step / m->steps;
}

static double at_offset(const Memory *m, double offset) {
  int64_t arena = m->view->entry->arena_bytes;
  return TOP + (HEIGHT - TOP - BOTTOM) * offset / (double)(arena ? arena : 1);
}

static bool at_peak(const Memory *m, const Span *span) {
  return span->first <= m->peak && m->peak <= span->last;
}

static const char *kind_of(const MemoryNote *note) {
  return strncmp(note->name, "input ", 6) == 0     ? "in"
         : strncmp(note->name, "output ", 7) == 0  ? "out"
         : strncmp(note->name, "scratch ", 8) == 0 ? "scratch"
                                                   : "value";
}

/* The ops of the step that writes a tensor, for those that have no name of their own. */
static const char *written_by(const Memory *m, const Span *span) {
  const View *v = m->view;
  const MemorySlot *slot = &v->record->slots[span->slot];
  return slot->first >= 0 && span->first < v->entry->n_steps ? v->entry->steps[span->first].label
                                                             : "";
}

static const char *until(const Memory *m, const Span *span) {
  return span->last == m->steps - 1 ? "the end" : arena_printf(m->view->arena, "%d", span->last);
}

static void draw_span(const Memory *m, const Span *span, Text *out) {
  const View *v = m->view;
  const MemorySlot *slot = &v->record->slots[span->slot];
  const MemoryNote *note = &v->record->notes[span->slot];
  double x = at_step(m, span->first), y = at_offset(m, (double)slot->offset);
  double width = at_step(m, span->last + 1) - x;
  double height = at_offset(m, (double)(slot->offset + slot->bytes)) - y;
  char bytes[32];
  bytes_text((double)slot->bytes, bytes, sizeof bytes);
  text_add(out, "<g><title>");
  html_add(out, arena_printf(v->arena, "%s : %s, %s, steps %d to %s, at %lld. %s", note->name,
                             type_text(&note->type), bytes, span->first, until(m, span),
                             (long long)slot->offset, written_by(m, span)));
  text_add(out,
           "</title><rect class=\"slot %s%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" "
           "height=\"%.2f\"/>",
           kind_of(note), at_peak(m, span) ? " peak" : "", x, y, width,
           height > 0.3 ? height : 0.3);
  int letters = (int)(width / 6.2) - 1;
  if (height >= 12 && letters >= 3) {
    text_add(out, "<text class=\"slot-name\" x=\"%.2f\" y=\"%.2f\">", x + 3, y + 10.5);
    html_add(out, arena_printf(v->arena, "%.*s", letters,
                               arena_printf(v->arena, "%s %s", note->name, bytes)));
    text_add(out, "</text>");
  }
  text_add(out, "</g>\n");
}

static void draw_axes(const Memory *m, Text *out) {
  for (int i = 0; i <= TICKS / 2; i++) {
    char bytes[32];
    double offset = (double)m->view->entry->arena_bytes * i / (TICKS / 2);
    bytes_text(offset, bytes, sizeof bytes);
    text_add(out,
             "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>"
             "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
             LEFT, at_offset(m, offset), WIDTH - 10, at_offset(m, offset), LEFT - 5,
             at_offset(m, offset) + 4, bytes);
  }
  for (int i = 0; i <= TICKS; i++) {
    int step = (int)((double)(m->steps - 1) * i / TICKS);
    text_add(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n",
             at_step(m, step + 0.5), HEIGHT - BOTTOM + 16, step);
  }
  text_add(out,
           "<text class=\"label\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">step (the last: what "
           "stays for the caller)</text>\n",
           (LEFT + WIDTH) / 2, HEIGHT - 4);
}

/* How much is alive, step by step, from the top. */
static void draw_alive(const Memory *m, Text *out) {
  text_add(out, "<path class=\"line b\" d=\"M%.2f %.2f", at_step(m, 0),
           at_offset(m, (double)m->alive[0]));
  for (int s = 0; s < m->steps; s++)
    text_add(out, "V%.2fH%.2f", at_offset(m, (double)m->alive[s]), at_step(m, s + 1));
  text_add(out,
           "\"/>\n<rect class=\"peak-step\" x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\"/>\n",
           at_step(m, m->peak), TOP, at_step(m, m->peak + 1) - at_step(m, m->peak),
           HEIGHT - TOP - BOTTOM);
}

static const MemorySlot *sorted_slots;
static int by_size(const void *a, const void *b) {
  const Span *x = a, *y = b;
  int64_t p = sorted_slots[x->slot].bytes, q = sorted_slots[y->slot].bytes;
  return p != q ? (p < q ? 1 : -1) : x->slot - y->slot;
}

static void peak_table(const Memory *m, Text *out) {
  const View *v = m->view;
  char bytes[32];
  Span *order = arena_copy(v->arena, m->spans, sizeof *order * (size_t)(m->n_spans + 1));
  sorted_slots = v->record->slots;
  qsort(order, (size_t)m->n_spans, sizeof *order, by_size);
  text_add(out,
           "<div class=\"wide\"><table id=\"peak\"><tr><th>alive at the peak</th><th>bytes</th>"
           "<th>share</th><th>steps</th><th>type</th><th>place</th></tr>\n");
  for (int i = 0; i < m->n_spans; i++) {
    const MemorySlot *slot = &v->record->slots[order[i].slot];
    const MemoryNote *note = &v->record->notes[order[i].slot];
    if (!at_peak(m, &order[i]))
      continue;
    bytes_text((double)slot->bytes, bytes, sizeof bytes);
    text_add(out, "<tr><td>");
    html_add(out, note->name);
    text_add(out, " <span class=\"soft\">");
    html_add(out, written_by(m, &order[i]));
    text_add(out, "</span></td><td>%s</td><td>%.1f %%</td><td>%d to %s</td><td>%s</td><td>", bytes,
             100.0 * (double)slot->bytes / (double)(m->alive[m->peak] ? m->alive[m->peak] : 1),
             order[i].first, until(m, &order[i]), type_text(&note->type));
    html_add(out, view_place(v->arena, note->loc));
    text_add(out, "</td></tr>\n");
  }
  text_add(out, "</table></div>\n");
}

void view_memory(const View *v, Text *out) {
  Memory m = spans_of(v);
  char arena[32], alive[32];
  bytes_text((double)v->entry->arena_bytes, arena, sizeof arena);
  bytes_text((double)m.alive[m.peak], alive, sizeof alive);
  text_add(out,
           "<p>The arena has %s for %d tensors. Most is alive in step %d: %s (shaded; the line is "
           "what is alive in each step; outlined tensors make the peak). Wheel and drag zoom and "
           "move.</p>\n<div class=\"view\" id=\"view-memory\">"
           "<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>memory over steps</title>\n",
           arena, m.n_spans, m.peak, alive, WIDTH, HEIGHT);
  draw_axes(&m, out);
  for (int i = 0; i < m.n_spans; i++)
    draw_span(&m, &m.spans[i], out);
  draw_alive(&m, out);
  text_add(out, "</svg></div>\n");
  peak_table(&m, out);
}
