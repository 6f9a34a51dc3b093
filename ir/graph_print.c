/* The text form of graphs, writing side; docs/graph-ir.md has the grammar. Reading: graph_parse.c.
 *
 * What is printed parses back to a graph that prints the same: attributes stand in signature order
 * without those at their default, names that follow from others are left out. Lists that do not fit
 * a line of 100 columns stand one item a line.
 */
#include "ir/graph.h"
#include "ir/op.h"
#include <ctype.h>
#include <string.h>

enum { WIDTH = 100 };

static void add_quoted(Text *text, const char *name) {
  text_add(text, "\"");
  for (const char *c = name; *c; c++)
    if (*c == '"' || *c == '\\')
      text_add(text, "\\%c", *c);
    else if (*c == '\n')
      text_add(text, "\\n");
    else
      text_add_bytes(text, c, 1);
  text_add(text, "\"");
}

static bool is_word(const char *word) {
  if (!isalpha((unsigned char)*word))
    return false;
  for (const char *c = word; *c; c++)
    if (!isalnum((unsigned char)*c) && !strchr("_.+-", *c))
      return false;
  return true;
}

static void add_attr(Text *text, const Attr *attr) {
  switch (attr->kind) {
  case ATTR_INT: text_add(text, "%lld", (long long)attr->i); break;
  case ATTR_FLOAT: text_add_float(text, attr->f, 0); break;
  case ATTR_INTS:
    text_add(text, "[");
    for (int i = 0; i < attr->n; i++)
      text_add(text, "%s%lld", i ? "," : "", (long long)attr->ints[i]);
    text_add(text, "]");
    break;
  case ATTR_TEXT:
    if (is_word(attr->text))
      text_add(text, "%s", attr->text);
    else
      add_quoted(text, attr->text);
    break;
  default: FAULT("attribute without a kind");
  }
}

static bool is_default(const AttrSpec *spec, const Attr *attr) {
  const Attr *fallback = &spec->fallback;
  if (!spec->has_default)
    return false;
  switch (spec->kind) {
  case ATTR_INT: return attr->i == fallback->i;
  case ATTR_FLOAT: return memcmp(&attr->f, &fallback->f, sizeof attr->f) == 0;
  case ATTR_INTS:
    return attr->n == fallback->n &&
           memcmp(attr->ints, fallback->ints, sizeof *attr->ints * (size_t)attr->n) == 0;
  case ATTR_TEXT: return strcmp(attr->text, fallback->text) == 0;
  default: return false;
  }
}

/* ---- lists that fit a line or stand one item a line ---- */

typedef struct List {
  Text items; /* NUL between items */
  int count;
} List;

static void end_item(List *list) {
  text_add_bytes(&list->items, "", 1);
  list->count++;
}

static void add_list(Text *text, List *list, size_t used, int indent) {
  bool fits = used + list->items.size + (size_t)list->count <= WIDTH;
  const char *item = list->items.at;
  for (int i = 0; i < list->count; i++, item += strlen(item) + 1) {
    if (fits)
      text_add(text, "%s", i ? " " : "");
    else
      text_add(text, "\n%*s", indent, "");
    text_add(text, "%s%s", item, i + 1 < list->count ? "," : "");
  }
  text_free(&list->items);
}

static size_t column(const Text *text) {
  size_t at = text->size;
  while (at > 0 && text->at[at - 1] != '\n')
    at--;
  return text->size - at;
}

/* ---- inputs and outputs ---- */

static void add_init(Text *text, const Init *init) {
  static const char *const kinds[] = {"constant", "uniform", "normal", "truncated"};
  if (init->kind == INIT_CONSTANT && init->a == 0)
    return;
  text_add(text, " init=%s(", kinds[init->kind]);
  text_add_float(text, init->a, 0);
  if (init->kind != INIT_CONSTANT) {
    text_add(text, ",");
    text_add_float(text, init->b, 0);
  }
  text_add(text, ")");
}

static void add_stage(Text *text, const char *stage) {
  if (stage) {
    text_add(text, " stage=");
    add_quoted(text, stage);
  }
}

static void add_input(Text *text, const GraphInput *input) {
  static const char *const roles[] = {"", " param", " buffer", " state", " scratch"};
  text_add(text, "%%%s:%s ", input->value->name, roles[input->role]);
  if (strcmp(input->name, input->value->name) != 0) {
    add_quoted(text, input->name);
    text_add(text, " ");
  }
  text_add(text, "%s", type_text(&input->value->type));
  add_init(text, &input->init);
  text_add(text, "%s%s", input->decay ? " decay" : "", input->frozen ? " frozen" : "");
  add_stage(text, input->stage);
}

static void add_output(Text *text, const GraphOutput *output) {
  if (output->tap)
    text_add(text, "tap ");
  if (output->updates && strcmp(output->updates, output->name) == 0) {
    text_add(text, "update ");
    add_quoted(text, output->name);
    text_add(text, " = ");
  } else if (!output_is_result(output) || strcmp(output->name, output->value->name) != 0) {
    add_quoted(text, output->name);
    if (output->updates) {
      text_add(text, " updates ");
      add_quoted(text, output->updates);
    }
    if (output->renews)
      text_add(text, " renews %%%s", output->renews->name);
    text_add(text, " = ");
  }
  text_add(text, "%%%s", output->value->name);
}

/* ---- nodes and graphs ---- */

static void add_graph(Text *text, const Graph *graph, int indent);

static void add_node(Text *text, const Node *node, int indent) {
  text_add(text, "%*s", indent, "");
  for (int i = 0; i < node->n_out; i++)
    text_add(text, "%s%%%s", i ? ", " : "", node->out[i].name);
  text_add(text, " = %s", node->op->name);
  for (int i = 0; i < node->n_in; i++)
    text_add(text, "%s%%%s", i ? ", " : " ", node->in[i]->name);
  const AttrSpec *specs;
  int count = op_signature(node->op, &specs);
  for (int i = 0; i < count; i++)
    if (!is_default(&specs[i], &node->attrs[i])) {
      text_add(text, " %s=", specs[i].name);
      add_attr(text, &node->attrs[i]);
    }
  for (int i = 0; i < node->n_out; i++)
    text_add(text, "%s%s", i ? ", " : " : ", type_text(&node->out[i].type));
  if (node->uncounted)
    text_add(text, " uncounted");
  add_stage(text, node->stage);
  if (node->body) {
    text_add(text, " ");
    add_graph(text, node->body, indent);
  }
  text_add(text, "\n");
}

/* From "@name(" to the closing brace; the first line is already indented. */
static void add_graph(Text *text, const Graph *graph, int indent) {
  text_add(text, "@%s(", graph->name);
  List list = {0};
  for (int i = 0; i < graph->inputs.count; i++) {
    add_input(&list.items, &graph->inputs.at[i]);
    end_item(&list);
  }
  add_list(text, &list, column(text) + 3, indent + 4);
  text_add(text, ") {\n");
  for (int i = 0; i < graph->nodes.count; i++)
    add_node(text, graph->nodes.at[i], indent + 2);
  text_add(text, "%*sret", indent + 2, "");
  list = (List){0};
  for (int i = 0; i < graph->outputs.count; i++) {
    add_output(&list.items, &graph->outputs.at[i]);
    end_item(&list);
  }
  size_t used = column(text) + 1;
  if (used + list.items.size + (size_t)list.count <= WIDTH && list.count)
    text_add(text, " ");
  add_list(text, &list, used, indent + 4);
  text_add(text, "\n%*s}", indent, "");
}

void graph_print(const Graph *graph, Text *text) {
  text_add(text, "graph ");
  add_graph(text, graph, 0);
  text_add(text, "\n");
}
