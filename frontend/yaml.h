/* The located YAML tree: what the model language and run files are read from.
 *
 * One document of mappings, sequences and scalars; no tags. Every node knows its place (line and
 * byte column from 1). Reading is bounded: file size, nesting, number of nodes, and the number of
 * nodes aliases expand to. An alias is its anchor's node, which must be complete (no cycles).
 * Scalars carry their text as YAML folds and unescapes it; yaml_place() finds the source place of
 * any byte of it. Whether a plain `12` is a number is the reader's business.
 */
#ifndef TRICOT_FRONTEND_YAML_H
#define TRICOT_FRONTEND_YAML_H
#include "runtime/base/arena.h"
#include "runtime/base/diag.h"

enum {
  YAML_MAX_BYTES = 1 << 20,
  YAML_MAX_DEPTH = 64,
  YAML_MAX_NODES = 100000 /* counting every copy an alias makes */
};

typedef enum YamlKind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING } YamlKind;
typedef enum YamlStyle {
  YAML_PLAIN,
  YAML_SINGLE,
  YAML_DOUBLE,
  YAML_LITERAL,
  YAML_FOLDED
} YamlStyle;

typedef struct Yaml Yaml;

typedef struct YamlPair {
  Yaml *key; /* a scalar */
  Yaml *value;
} YamlPair;

struct Yaml {
  YamlKind kind;
  Loc loc;
  /* scalars */
  YamlStyle style;
  const char *text; /* NUL-terminated, holds no other NUL */
  int size;
  size_t start, stop; /* bytes of the source text, quotes and block header included */
  const int *place; /* size+1 source offsets, one per byte of text; made when first asked for */
  const struct YamlLines *lines;
  /* sequences and mappings, in source order */
  int count;
  Yaml **items;    /* sequences */
  YamlPair *pairs; /* mappings: keys are unique */
  /* bounds */
  int nodes; /* of this subtree, aliases expanded */
  int depth; /* levels of this subtree */
};

/* Reads a file, or a text the caller keeps alive as long as diag. NULL after errors in diag. A file
 * that cannot be read is an error at `from` (where its name was written), which may be unknown. */
Yaml *yaml_read(Diag *diag, const char *path, Loc from);
Yaml *yaml_parse(Diag *diag, const char *path, const char *text, size_t size);

/* A scalar of a text that is no file: an option of the command line, shown under `path`. */
Yaml *yaml_text(Diag *diag, const char *path, const char *text);

Yaml *yaml_get(const Yaml *mapping, const char *key); /* NULL when absent or no mapping */
Yaml *yaml_key(const Yaml *mapping, const char *key); /* the key's own node */
bool yaml_is(const Yaml *node, const char *text);     /* a scalar of this text */
const char *yaml_kind_name(const Yaml *node);         /* "a mapping", "text", … for messages */
/* Where byte `offset` (0 .. size) of a scalar's text stands in the file. */
Loc yaml_place(Diag *diag, Yaml *scalar, int offset);
/* Reports every key of a mapping that is not in `keys`, with the nearest one; false if any. */
bool yaml_check_keys(Diag *diag, const Yaml *mapping, const char *const *keys, int count,
                     const char *what);
#endif
