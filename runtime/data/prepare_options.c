/* Presets, settings and the canonical text of preprocessing. See prepare_options.h.
 *
 * One table of rows says what each key means; settings, flags and the text are read through it.
 */
#include "runtime/data/prepare_options.h"
#include "runtime/data/orient.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIZE = 1 << 20, MAX_LIST = 3, MAX_VALUE = 200 };

static const char *const step_names[] = {"clip", "resize", "window", NULL};
static const char *const rescale_names[] = {"metadata", "header", "none", NULL};
static const char *const spacing_names[] = {"metadata", "header", NULL};
static const char *const gate_names[] = {"stop", "warn", "off", NULL};

PrepareOptions prepare_defaults(void) {
  return (PrepareOptions){.size = {256, 512, 512},
                          .order = {PREPARE_CLIP, PREPARE_RESIZE, PREPARE_WINDOW},
                          .n_steps = 3,
                          .clip = {-1000, 1000},
                          .window = {-1000, 200},
                          .spacing = {1.5, 0.75, 0.75},
                          .padding = -1};
}

bool prepare_preset(const char *name, PrepareOptions *options, Error *error) {
  PrepareOptions preset = prepare_defaults();
  if (strcmp(name, "ct-clip") == 0) {
    static const int64_t size[3] = {240, 480, 480};
    memcpy(preset.size, size, sizeof size);
    preset.order[0] = PREPARE_RESIZE;
    preset.order[1] = PREPARE_WINDOW;
    preset.n_steps = 2;
    preset.window[1] = 1000;
  } else if (strcmp(name, "dcformer") != 0) {
    return error_set(error, "no preset is called \"%.60s\": dcformer or ct-clip", name);
  }
  *options = preset;
  return true;
}

/* ---- values ---- */

static int find_name(const char *const *names, const char *word, size_t length) {
  for (int i = 0; names[i]; i++)
    if (strlen(names[i]) == length && strncmp(names[i], word, length) == 0)
      return i;
  return -1;
}

/* Takes quotes or brackets away. */
static size_t trim(const char **text, size_t length) {
  const char *at = *text;
  while (length && (*at == ' ' || *at == '\t'))
    at++, length--;
  while (length && at[length - 1] == ' ')
    length--;
  if (length >= 2 && ((*at == '"' && at[length - 1] == '"') ||
                      (*at == '\'' && at[length - 1] == '\'') ||
                      (*at == '[' && at[length - 1] == ']')))
    at++, length -= 2;
  *text = at;
  return length;
}

/* The items of "[a, b]" or "a:b" or "axb"; -1 when there are more than MAX_LIST. */
static int split(const char *text, const char *items[MAX_LIST], size_t lengths[MAX_LIST]) {
  size_t length = trim(&text, strlen(text));
  int count = 0;
  for (const char *end = text + length; text <= end;) {
    size_t n = 0;
    while (text + n < end && text[n] != ',' && text[n] != ':' && text[n] != 'x')
      n++;
    if (count == MAX_LIST)
      return -1;
    items[count] = text;
    lengths[count] = trim(&items[count], n);
    count++;
    text += n + 1;
  }
  return count;
}

static int read_numbers(const char *text, double values[MAX_LIST]) {
  const char *items[MAX_LIST];
  size_t lengths[MAX_LIST];
  int count = split(text, items, lengths);
  for (int i = 0; i < count; i++) {
    char *end;
    values[i] = strtod(items[i], &end);
    if (!lengths[i] || end != items[i] + lengths[i] || !isfinite(values[i]))
      return -1;
  }
  return count;
}

static bool read_range(const char *text, double range[2]) {
  double values[MAX_LIST];
  if (read_numbers(text, values) != 2 || values[0] >= values[1])
    return false;
  memcpy(range, values, 2 * sizeof *range);
  return true;
}

/* ---- keys ---- */

static bool set_size(PrepareOptions *o, const char *text) {
  double values[MAX_LIST];
  if (read_numbers(text, values) != 3)
    return false;
  for (int i = 0; i < 3; i++) {
    if (!(values[i] >= 1 && values[i] <= MAX_SIZE) || values[i] != floor(values[i]))
      return false;
    o->size[i] = (int64_t)values[i];
  }
  return true;
}

static bool set_order(PrepareOptions *o, const char *text) {
  const char *items[MAX_LIST];
  size_t lengths[MAX_LIST];
  PrepareStep order[PREPARE_STEPS];
  int count = split(text, items, lengths);
  for (int i = 0; i < count; i++) {
    int step = find_name(step_names, items[i], lengths[i]);
    for (int j = 0; j < i; j++)
      if ((int)order[j] == step)
        return false;
    if (step < 0)
      return false;
    order[i] = (PrepareStep)step;
  }
  if (count < 1)
    return false;
  memcpy(o->order, order, sizeof *order * (size_t)count);
  o->n_steps = count;
  return true;
}

static bool set_clip(PrepareOptions *o, const char *text) { return read_range(text, o->clip); }

static bool set_window(PrepareOptions *o, const char *text) { return read_range(text, o->window); }

static bool set_spacing(PrepareOptions *o, const char *text) {
  double values[MAX_LIST];
  int count = read_numbers(text, values);
  if (count == 2)
    values[2] = values[1];
  if (count < 2)
    return false;
  for (int i = 0; i < 3; i++)
    if (values[i] <= 0)
      return false;
  memcpy(o->spacing, values, sizeof o->spacing);
  return true;
}

static bool set_padding(PrepareOptions *o, const char *text) {
  double values[MAX_LIST];
  if (read_numbers(text, values) != 1)
    return false;
  o->padding = values[0];
  return true;
}

static int read_name(const char *const *names, const char *text) {
  size_t length = trim(&text, strlen(text));
  return find_name(names, text, length);
}

static bool set_rescale(PrepareOptions *o, const char *text) {
  int name = read_name(rescale_names, text);
  o->rescale = name < 0 ? o->rescale : (PrepareRescale)name;
  return name >= 0;
}

static bool set_spacing_from(PrepareOptions *o, const char *text) {
  int name = read_name(spacing_names, text);
  o->header_spacing = name < 0 ? o->header_spacing : name == 1;
  return name >= 0;
}

static bool set_gate(PrepareOptions *o, const char *text) {
  int name = read_name(gate_names, text);
  o->gate = name < 0 ? o->gate : (PrepareGate)name;
  return name >= 0;
}

static bool set_orientation(PrepareOptions *o, const char *text) {
  size_t length = trim(&text, strlen(text));
  char axes[4] = "";
  bool stored = length == 6 && strncmp(text, "stored", 6) == 0;
  if (!stored && length != 3)
    return false;
  if (!stored)
    memcpy(axes, text, 3);
  if (!stored && !axes_are_valid(axes))
    return false;
  memcpy(o->orientation, axes, sizeof axes);
  return true;
}

static const struct Row {
  const char *key;
  bool (*set)(PrepareOptions *options, const char *text);
  const char *form;
} rows[] = {
    {"size", set_size, "three sizes D, H, W"},
    {"order", set_order, "a list of clip, resize and window, each at most once"},
    {"clip", set_clip, "a range of HU: [-1000, 1000]"},
    {"window", set_window, "a range of HU: [-1000, 200]"},
    {"spacing", set_spacing, "mm along z, x, y: [1.5, 0.75, 0.75] or [1.5, 0.75]"},
    {"spacing_from", set_spacing_from, "metadata or header"},
    {"padding", set_padding, "a number"},
    {"rescale", set_rescale, "metadata, header or none"},
    {"orientation", set_orientation, "stored, or where x, y and z point to: LPS"},
    {"gate", set_gate, "stop, warn or off"},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static const struct Row *find_row(const char *key) {
  for (int i = 0; i < N_ROWS; i++)
    if (strcmp(rows[i].key, key) == 0)
      return &rows[i];
  return NULL;
}

bool prepare_set(PrepareOptions *options, const char *key, const char *value, Error *error) {
  const struct Row *row = find_row(key);
  if (!row)
    return error_set(error, "prepare.%.60s: error: preprocessing has no such setting", key);
  if (strcmp(value, "none") == 0 && row->set != set_rescale)
    return true;
  return row->set(options, value) ||
         error_set(error, "prepare.%s: error: %.*s is not %s", key, MAX_VALUE, value, row->form);
}

bool prepare_settings(const PlanPair *settings, int count, PrepareOptions *options, Error *error) {
  static const char prefix[] = "prepare.";
  size_t length = strlen(prefix);
  int64_t size[3];
  memcpy(size, options->size, sizeof size);
  for (int i = 0; i < count; i++) {
    char name[MAX_VALUE];
    Error inner;
    const char *value = settings[i].value;
    if (strcmp(settings[i].key, "prepare.preset") != 0)
      continue;
    size_t n = trim(&value, strlen(value));
    snprintf(name, sizeof name, "%.*s", (int)n, value);
    if (!prepare_preset(name, options, &inner))
      return error_set(error, "prepare.preset: error: %.900s", inner.text);
  }
  for (int i = 0; i < count; i++) {
    const char *key = settings[i].key + length;
    if (strncmp(settings[i].key, prefix, length) == 0 && strcmp(key, "preset") != 0 &&
        !prepare_set(options, key, settings[i].value, error))
      return false;
  }
  memcpy(options->size, size, sizeof size);
  return prepare_options_check(options, error);
}

bool prepare_options_check(const PrepareOptions *o, Error *error) {
  for (int i = 0; i < 3; i++)
    if (o->size[i] < 1 || o->size[i] > MAX_SIZE)
      return error_set(error, "size %lldx%lldx%lld is not within 1..%d", (long long)o->size[0],
                       (long long)o->size[1], (long long)o->size[2], MAX_SIZE);
  for (int i = 0; i < 3; i++)
    if (!isfinite(o->spacing[i]) || o->spacing[i] <= 0)
      return error_set(error, "spacing %g is not a positive number", o->spacing[i]);
  if (!isfinite(o->clip[0]) || !isfinite(o->clip[1]) || o->clip[0] >= o->clip[1])
    return error_set(error, "clip %g:%g is not a range", o->clip[0], o->clip[1]);
  bool windowed = false;
  for (int i = 0; i < o->n_steps; i++) {
    if (windowed && o->order[i] == PREPARE_CLIP)
      return error_set(error, "the order has clip after window, which leaves no HU to clip");
    windowed |= o->order[i] == PREPARE_WINDOW;
  }
  if (!isfinite(o->window[0]) || !isfinite(o->window[1]) || o->window[0] >= o->window[1])
    return error_set(error, "window %g:%g is not a range", o->window[0], o->window[1]);
  return isfinite(o->padding) || error_set(error, "padding %g is no number", o->padding);
}

/* ---- the canonical text: "KEY VALUE KEY VALUE ..." ---- */

static bool has_step(const PrepareOptions *o, PrepareStep step) {
  for (int i = 0; i < o->n_steps; i++)
    if (o->order[i] == step)
      return true;
  return false;
}

void prepare_options_text(const PrepareOptions *o, char *out) {
  char *end = out + PREPARE_TEXT_ROOM;
#define ADD(...) out += snprintf(out, (size_t)(end - out), __VA_ARGS__)
  ADD("size %lldx%lldx%lld order ", (long long)o->size[0], (long long)o->size[1],
      (long long)o->size[2]);
  for (int i = 0; i < o->n_steps; i++)
    ADD("%s%s", i ? "," : "", step_names[o->order[i]]);
  if (has_step(o, PREPARE_CLIP))
    ADD(" clip %.17g:%.17g", o->clip[0], o->clip[1]);
  if (has_step(o, PREPARE_WINDOW))
    ADD(" window %.17g:%.17g", o->window[0], o->window[1]);
  if (has_step(o, PREPARE_RESIZE))
    ADD(" spacing %.17g:%.17g:%.17g spacing_from %s", o->spacing[0], o->spacing[1], o->spacing[2],
        spacing_names[o->header_spacing]);
  ADD(" padding %.17g rescale %s orientation %s", o->padding, rescale_names[o->rescale],
      *o->orientation ? o->orientation : "stored");
#undef ADD
}

bool prepare_options_parse(const char *text, PrepareOptions *options, Error *error) {
  PrepareOptions parsed = prepare_defaults();
  char canonical[PREPARE_TEXT_ROOM];
  for (const char *at = text; *at;) {
    char word[2][MAX_VALUE];
    for (int i = 0; i < 2; i++) {
      size_t n = strcspn(at, " ");
      snprintf(word[i], sizeof word[i], "%.*s", n < MAX_VALUE ? (int)n : 0, at);
      at += n + (at[n] == ' ');
    }
    if (!prepare_set(&parsed, word[0], word[1], error))
      return false;
  }
  prepare_options_text(&parsed, canonical);
  if (strcmp(canonical, text) != 0)
    return error_set(error, "\"%.300s\" is no text of preprocessing settings", text);
  *options = parsed;
  return true;
}
