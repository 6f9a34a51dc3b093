/* libyaml's event stream into a located tree. See yaml.h for the bounds and why there are any.
 *
 * libyaml counts code points and takes NEL, LS and PS for line breaks; a Loc counts bytes and '\n'.
 * Every mark is therefore turned into a byte offset first (LineTable) and into a Loc from there.
 */
#include "frontend/yaml.h"
#include "runtime/base/file.h"
#include "runtime/base/map.h"
#include <string.h>
#include <yaml.h>

/* Byte offsets at which lines start: as a Loc counts them, and as libyaml does. */
typedef struct YamlLines {
  VEC(size_t) ours, theirs;
} YamlLines;

typedef struct Anchor {
  Yaml *node; /* NULL while it is being read */
} Anchor;

typedef struct Reader {
  Diag *diag;
  Arena *arena;
  const Source *source;
  yaml_parser_t parser;
  YamlLines *lines;
  yaml_mark_t last; /* marks mostly advance: the byte offset of the last one saves the walk */
  size_t last_offset;
  Map anchors; /* name -> the last Anchor of it */
  int nodes;
} Reader;

/* ---- places ---- */

/* Length of the line break at `at` as libyaml sees it, 0: none. */
static size_t break_length(const char *at, const char *end) {
  const unsigned char *p = (const unsigned char *)at;
  size_t left = (size_t)(end - at);
  if (left >= 2 && p[0] == '\r' && p[1] == '\n')
    return 2;
  if (left >= 1 && (p[0] == '\r' || p[0] == '\n'))
    return 1;
  if (left >= 2 && p[0] == 0xC2 && p[1] == 0x85)
    return 2;
  if (left >= 3 && p[0] == 0xE2 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9))
    return 3;
  return 0;
}

static YamlLines *lines_scan(Arena *arena, const Source *source) {
  YamlLines *lines = ARENA_NEW(arena, YamlLines);
  const char *end = source->text + source->size;
  vec_push(arena, &lines->ours, 0);
  vec_push(arena, &lines->theirs, 0);
  for (const char *at = source->text; at < end;) {
    size_t length = break_length(at, end);
    at += length ? length : 1;
    if (length)
      vec_push(arena, &lines->theirs, (size_t)(at - source->text));
    if (at[-1] == '\n')
      vec_push(arena, &lines->ours, (size_t)(at - source->text));
  }
  return lines;
}

static size_t mark_offset(Reader *reader, yaml_mark_t mark) {
  const Source *source = reader->source;
  if (mark.line >= (size_t)reader->lines->theirs.count)
    return source->size;
  size_t at = reader->lines->theirs.at[mark.line], column = 0;
  if (mark.line == reader->last.line && mark.column >= reader->last.column) {
    at = reader->last_offset;
    column = reader->last.column;
  }
  for (; column < mark.column && at < source->size; column++) {
    at++;
    while (at < source->size && ((unsigned char)source->text[at] & 0xC0) == 0x80)
      at++;
  }
  reader->last = mark;
  reader->last_offset = at;
  return at;
}

static Loc offset_loc(const Source *source, const YamlLines *lines, size_t offset) {
  int low = 0, high = lines->ours.count;
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (lines->ours.at[middle] <= offset)
      low = middle;
    else
      high = middle;
  }
  return (Loc){source, low + 1, (int)(offset - lines->ours.at[low]) + 1};
}

static Loc mark_loc(Reader *reader, yaml_mark_t mark) {
  return offset_loc(reader->source, reader->lines, mark_offset(reader, mark));
}

/* The byte offset of each byte of a scalar's text: walks text and source side by side and lets each
 * style's rules (escapes, folding, indentation) account for the difference. */
typedef struct Aligner {
  const char *source, *end; /* the scalar's bytes */
  const char *at;
  YamlStyle style;
  int indent; /* of block scalars */
} Aligner;

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static void skip_spaces(Aligner *aligner, int limit) {
  for (int i = 0; i < limit && aligner->at < aligner->end && *aligner->at == ' '; i++)
    aligner->at++;
}

/* Past the header line (`|`, `>-` and so on); finds the block's indentation. */
static void block_start(Aligner *aligner) {
  const char *at = memchr(aligner->at, '\n', (size_t)(aligner->end - aligner->at));
  aligner->at = at ? at + 1 : aligner->end;
  for (at = aligner->at; at < aligner->end; at++) {
    if (*at == ' ')
      continue;
    if (!is_blank(*at))
      break;
    aligner->indent = 0;
  }
  const char *first = at;
  while (first > aligner->at && first[-1] == ' ')
    first--;
  aligner->indent = (int)(at - first);
  skip_spaces(aligner, aligner->indent);
}

static int escape_length(const char *at, const char *end) {
  if (at + 1 >= end)
    return 1;
  return at[1] == 'x' ? 4 : at[1] == 'u' ? 6 : at[1] == 'U' ? 10 : 2;
}

/* Source bytes that make the one text byte c; leaves aligner->at behind them. */
static const char *align_byte(Aligner *aligner, char c, char next) {
  const char *here;
  if (aligner->style == YAML_DOUBLE)
    while (aligner->at + 1 < aligner->end && aligner->at[0] == '\\' &&
           (aligner->at[1] == '\n' || aligner->at[1] == '\r'))
      for (aligner->at++; aligner->at < aligner->end && is_blank(*aligner->at);)
        aligner->at++;
  here = aligner->at;
  if (here >= aligner->end)
    return aligner->end;
  if (aligner->style == YAML_DOUBLE && *here == '\\') {
    aligner->at += escape_length(here, aligner->end);
  } else if (aligner->style == YAML_SINGLE && *here == '\'') {
    aligner->at += 2;
  } else if (aligner->style == YAML_LITERAL || aligner->style == YAML_FOLDED) {
    aligner->at++;
    if (*here == '\n')
      skip_spaces(aligner, aligner->indent);
  } else if (is_blank(c) && is_blank(*here)) {
    /* a fold: one space, or one line feed fewer than the breaks there are */
    const char *stop = here;
    while (stop < aligner->end && is_blank(*stop))
      stop++;
    bool folded = memchr(here, '\n', (size_t)(stop - here)) != NULL;
    aligner->at = folded ? (next == '\n' ? here : stop) : here + 1;
  } else {
    aligner->at++;
  }
  if (aligner->at > aligner->end)
    aligner->at = aligner->end;
  return here;
}

static void align(Diag *diag, Yaml *scalar) {
  const char *text = scalar->loc.source->text;
  Aligner aligner = {.source = text + scalar->start, .end = text + scalar->stop,
                     .at = text + scalar->start, .style = scalar->style};
  int *place = ARENA_ARRAY(diag->arena, int, scalar->size + 1);
  if (scalar->style == YAML_SINGLE || scalar->style == YAML_DOUBLE)
    aligner.at++;
  if (scalar->style == YAML_LITERAL || scalar->style == YAML_FOLDED)
    block_start(&aligner);
  const char *here = aligner.at;
  for (int i = 0; i < scalar->size; i++) {
    /* the later bytes of a code point written as an escape share its place */
    bool inside = ((unsigned char)scalar->text[i] & 0xC0) == 0x80;
    if (!inside || (aligner.at < aligner.end && *aligner.at == scalar->text[i]))
      here = align_byte(&aligner, scalar->text[i], scalar->text[i + 1]);
    place[i] = (int)(here - text);
  }
  place[scalar->size] = (int)(aligner.at - text);
  scalar->place = place;
}

Loc yaml_place(Diag *diag, Yaml *scalar, int offset) {
  CHECK(scalar->kind == YAML_SCALAR && offset >= 0 && offset <= scalar->size);
  if (!scalar->loc.source || !scalar->loc.source->text)
    return scalar->loc;
  if (!scalar->place)
    align(diag, scalar);
  return offset_loc(scalar->loc.source, scalar->lines, (size_t)scalar->place[offset]);
}

/* ---- events into nodes ---- */

static void parser_error(Reader *reader) {
  const yaml_parser_t *parser = &reader->parser;
  const char *problem = parser->problem ? parser->problem : "not YAML";
  if (parser->error == YAML_READER_ERROR) {
    size_t offset = parser->problem_offset;
    if (offset > reader->source->size)
      offset = reader->source->size;
    Loc loc = offset_loc(reader->source, reader->lines, offset);
    if (parser->problem_value >= 0)
      diag_error(reader->diag, loc, "%s (0x%x)", problem, (unsigned)parser->problem_value);
    else
      diag_error(reader->diag, loc, "%s", problem);
    return;
  }
  Loc loc = mark_loc(reader, parser->problem_mark);
  if (parser->context)
    diag_error(reader->diag, loc, "%s, %s", problem, parser->context);
  else
    diag_error(reader->diag, loc, "%s", problem);
}

static bool next_event(Reader *reader, yaml_event_t *event) {
  if (yaml_parser_parse(&reader->parser, event))
    return true;
  parser_error(reader);
  return false;
}

static Yaml *new_node(Reader *reader, YamlKind kind, const yaml_event_t *event) {
  Yaml *node = ARENA_NEW(reader->arena, Yaml);
  node->kind = kind;
  node->start = mark_offset(reader, event->start_mark);
  node->stop = mark_offset(reader, event->end_mark);
  node->loc = offset_loc(reader->source, reader->lines, node->start);
  node->lines = reader->lines;
  node->nodes = node->depth = 1;
  return node;
}

/* Adds a finished child's bounds to its parent's; false when that goes too far. */
static bool account(Reader *reader, Yaml *parent, const Yaml *child, int level) {
  parent->nodes += child->nodes;
  if (child->depth + 1 > parent->depth)
    parent->depth = child->depth + 1;
  if (parent->nodes > YAML_MAX_NODES)
    return diag_error(reader->diag, child->loc,
                      "aliases expand this file to more than %d values", YAML_MAX_NODES);
  if (level + parent->depth > YAML_MAX_DEPTH)
    return diag_error(reader->diag, child->loc, "nested more than %d levels deep",
                      YAML_MAX_DEPTH);
  return true;
}

static Yaml *read_node(Reader *reader, yaml_event_t *event, int level);

static Yaml *read_scalar(Reader *reader, const yaml_event_t *event) {
  static const YamlStyle styles[] = {[YAML_PLAIN_SCALAR_STYLE] = YAML_PLAIN,
                                     [YAML_SINGLE_QUOTED_SCALAR_STYLE] = YAML_SINGLE,
                                     [YAML_DOUBLE_QUOTED_SCALAR_STYLE] = YAML_DOUBLE,
                                     [YAML_LITERAL_SCALAR_STYLE] = YAML_LITERAL,
                                     [YAML_FOLDED_SCALAR_STYLE] = YAML_FOLDED};
  Yaml *node = new_node(reader, YAML_SCALAR, event);
  size_t size = event->data.scalar.length;
  node->style = styles[event->data.scalar.style];
  node->text = arena_strndup(reader->arena, (const char *)event->data.scalar.value, size);
  node->size = (int)size;
  if (memchr(node->text, 0, size)) {
    diag_error(reader->diag, node->loc, "a zero byte in text");
    return NULL;
  }
  return node;
}

static bool read_sequence(Reader *reader, Yaml *node, int level) {
  VEC(Yaml *) items = {0};
  for (;;) {
    yaml_event_t event;
    if (!next_event(reader, &event))
      return false;
    if (event.type == YAML_SEQUENCE_END_EVENT) {
      yaml_event_delete(&event);
      break;
    }
    Yaml *item = read_node(reader, &event, level + 1);
    if (!item || !account(reader, node, item, level))
      return false;
    vec_push(reader->arena, &items, item);
  }
  node->items = items.at;
  node->count = items.count;
  return true;
}

static bool key_is_new(Reader *reader, Map *keys, Yaml *key) {
  if (key->kind != YAML_SCALAR)
    return diag_error(reader->diag, key->loc, "a key is text, not %s", yaml_kind_name(key));
  const Yaml *first = map_get(keys, key->text);
  if (first) {
    diag_error(reader->diag, key->loc, "duplicate key '%s'", key->text);
    diag_note(reader->diag, first->loc, "first given here");
    return false;
  }
  map_set(keys, key->text, key);
  return true;
}

static bool read_mapping(Reader *reader, Yaml *node, int level) {
  VEC(YamlPair) pairs = {0};
  Map keys;
  map_init(&keys, reader->arena);
  for (;;) {
    yaml_event_t event;
    if (!next_event(reader, &event))
      return false;
    if (event.type == YAML_MAPPING_END_EVENT) {
      yaml_event_delete(&event);
      break;
    }
    YamlPair pair = {0};
    pair.key = read_node(reader, &event, level + 1);
    if (!pair.key || !key_is_new(reader, &keys, pair.key) ||
        !account(reader, node, pair.key, level) || !next_event(reader, &event))
      return false;
    pair.value = read_node(reader, &event, level + 1);
    if (!pair.value || !account(reader, node, pair.value, level))
      return false;
    vec_push(reader->arena, &pairs, pair);
  }
  node->pairs = pairs.at;
  node->count = pairs.count;
  return true;
}

static Yaml *read_alias(Reader *reader, const yaml_event_t *event) {
  Loc loc = mark_loc(reader, event->start_mark);
  const char *name = (const char *)event->data.alias.anchor;
  const Anchor *anchor = map_get(&reader->anchors, name);
  if (anchor && anchor->node)
    return anchor->node;
  diag_error(reader->diag, loc,
             anchor ? "alias '%s' stands inside its own anchor"
                    : "no anchor '%s' before this alias",
             name);
  return NULL;
}

/* Opens an anchor and refuses tags; *opened gets the anchor or NULL; false when refused. */
static bool open_anchor(Reader *reader, const yaml_event_t *event, const yaml_char_t *anchor,
                        const yaml_char_t *tag, Anchor **opened) {
  *opened = NULL;
  if (tag)
    return diag_error(reader->diag, mark_loc(reader, event->start_mark),
                      "tag '%s': tags are not used here", (const char *)tag);
  if (anchor) {
    *opened = ARENA_NEW(reader->arena, Anchor);
    map_set(&reader->anchors, (const char *)anchor, *opened);
  }
  return true;
}

/* Consumes the event. level: how many collections are open around it. */
static Yaml *read_node(Reader *reader, yaml_event_t *event, int level) {
  Yaml *node = NULL;
  Anchor *anchor = NULL;
  Loc loc = mark_loc(reader, event->start_mark);
  if (++reader->nodes > YAML_MAX_NODES) {
    diag_error(reader->diag, loc, "more than %d values in one file", YAML_MAX_NODES);
  } else if (level >= YAML_MAX_DEPTH) {
    diag_error(reader->diag, loc, "nested more than %d levels deep", YAML_MAX_DEPTH);
  } else if (event->type == YAML_ALIAS_EVENT) {
    node = read_alias(reader, event);
  } else if (event->type == YAML_SCALAR_EVENT) {
    if (open_anchor(reader, event, event->data.scalar.anchor, event->data.scalar.tag, &anchor))
      node = read_scalar(reader, event);
  } else if (event->type == YAML_SEQUENCE_START_EVENT) {
    if (open_anchor(reader, event, event->data.sequence_start.anchor,
                    event->data.sequence_start.tag, &anchor)) {
      node = new_node(reader, YAML_SEQUENCE, event);
      if (!read_sequence(reader, node, level))
        node = NULL;
    }
  } else if (event->type == YAML_MAPPING_START_EVENT) {
    if (open_anchor(reader, event, event->data.mapping_start.anchor,
                    event->data.mapping_start.tag, &anchor)) {
      node = new_node(reader, YAML_MAPPING, event);
      if (!read_mapping(reader, node, level))
        node = NULL;
    }
  } else {
    FAULT("YAML event %d where a value belongs", (int)event->type);
  }
  if (node && anchor)
    anchor->node = node;
  yaml_event_delete(event);
  return node;
}

static Yaml *read_stream(Reader *reader) {
  yaml_event_t event;
  Yaml *root = NULL;
  for (;;) {
    if (!next_event(reader, &event))
      return NULL;
    yaml_event_type_t type = event.type;
    if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_END_EVENT) {
      yaml_event_delete(&event);
    } else if (type == YAML_STREAM_END_EVENT) {
      yaml_event_delete(&event);
      break;
    } else if (type == YAML_DOCUMENT_START_EVENT) {
      Loc loc = mark_loc(reader, event.start_mark);
      yaml_event_delete(&event);
      if (root) {
        diag_error(reader->diag, loc, "a second document in one file");
        return NULL;
      }
    } else if (!(root = read_node(reader, &event, 0))) {
      return NULL;
    }
  }
  if (!root)
    diag_error(reader->diag, (Loc){reader->source, 1, 1}, "the file is empty");
  return root;
}

Yaml *yaml_parse(Diag *diag, const char *path, const char *text, size_t size) {
  Reader reader = {.diag = diag, .arena = diag->arena};
  if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
    text += 3;
    size -= 3;
  }
  reader.source = diag_source(diag, path, text, size);
  if (size > YAML_MAX_BYTES) {
    diag_error(diag, (Loc){reader.source, 0, 0}, "larger than %d bytes", YAML_MAX_BYTES);
    return NULL;
  }
  reader.lines = lines_scan(diag->arena, reader.source);
  map_init(&reader.anchors, diag->arena);
  if (!yaml_parser_initialize(&reader.parser))
    FAULT("libyaml cannot start");
  yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
  Yaml *root = read_stream(&reader);
  yaml_parser_delete(&reader.parser);
  return root;
}

Yaml *yaml_text(Diag *diag, const char *path, const char *text) {
  Yaml *node = ARENA_NEW(diag->arena, Yaml);
  const Source *source = diag_source(diag, path, text, strlen(text));
  *node = (Yaml){.kind = YAML_SCALAR, .loc = {source, 1, 1}, .style = YAML_PLAIN, .text = text,
                 .size = (int)strlen(text), .stop = strlen(text), .nodes = 1, .depth = 1};
  node->lines = lines_scan(diag->arena, source);
  return node;
}

Yaml *yaml_read(Diag *diag, const char *path, Loc from) {
  char *text;
  size_t size;
  Error error;
  if (!file_read(diag->arena, path, YAML_MAX_BYTES, &text, &size, &error)) {
    const char *reason = strstr(error.text, ": error: ");
    reason = reason ? reason + strlen(": error: ") : error.text;
    if (from.source)
      diag_error(diag, from, "%s: %s", path, reason);
    else
      diag_error(diag, (Loc){diag_source(diag, path, NULL, 0), 0, 0}, "%s", reason);
    return NULL;
  }
  return yaml_parse(diag, path, text, size);
}

/* ---- reading the tree ---- */

static const YamlPair *find_pair(const Yaml *mapping, const char *key) {
  if (mapping && mapping->kind == YAML_MAPPING)
    for (int i = 0; i < mapping->count; i++)
      if (strcmp(mapping->pairs[i].key->text, key) == 0)
        return &mapping->pairs[i];
  return NULL;
}

Yaml *yaml_get(const Yaml *mapping, const char *key) {
  const YamlPair *pair = find_pair(mapping, key);
  return pair ? pair->value : NULL;
}

Yaml *yaml_key(const Yaml *mapping, const char *key) {
  const YamlPair *pair = find_pair(mapping, key);
  return pair ? pair->key : NULL;
}

bool yaml_is(const Yaml *node, const char *text) {
  return node && node->kind == YAML_SCALAR && strcmp(node->text, text) == 0;
}

const char *yaml_kind_name(const Yaml *node) {
  if (node->kind == YAML_MAPPING)
    return "a mapping";
  if (node->kind == YAML_SEQUENCE)
    return "a list";
  return node->size == 0 && node->style == YAML_PLAIN ? "nothing" : "text";
}

bool yaml_check_keys(Diag *diag, const Yaml *mapping, const char *const *keys, int count,
                     const char *what) {
  bool good = true;
  if (mapping->kind != YAML_MAPPING)
    return diag_error(diag, mapping->loc, "%s is a mapping, not %s", what,
                      yaml_kind_name(mapping));
  for (int i = 0; i < mapping->count; i++) {
    const Yaml *key = mapping->pairs[i].key;
    bool known = false;
    for (int k = 0; k < count; k++)
      known |= strcmp(key->text, keys[k]) == 0;
    if (known)
      continue;
    const char *nearest = diag_nearest(key->text, keys, count);
    good = nearest ? diag_error(diag, key->loc, "unknown key '%s' in %s; did you mean '%s'?",
                                key->text, what, nearest)
                   : diag_error(diag, key->loc, "unknown key '%s' in %s", key->text, what);
  }
  return good;
}
