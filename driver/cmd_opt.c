/* `tricot opt FILE --passes=a,b`: runs graph passes on IR text and prints the result.
 *
 * Reads a .tg file (docs/graph-ir.md) with any number of graphs; "-" is standard input. Prints
 * nothing on standard output unless every graph went through.
 */
#include "driver/cmd_opt.h"
#include "passes/graph/common.h"
#include "runtime/base/bytes.h"
#include "runtime/base/file.h"
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: tricot opt FILE --passes=NAME,NAME... [options]\n"
    "\n"
    "Runs graph passes on IR text (FILE, or - for standard input) and prints the result.\n"
    "\n"
    "  --passes=A,B      passes in this order; 'standard' stands for the standard order\n"
    "  --skip=A,B        leave these out\n"
    "  --stop-after=A    end after this pass\n"
    "  --dump=A,B        print the graph after these passes too ('all': after every pass)\n"
    "  --memory-budget=SIZE  for pass remat: 400M, 0.4GiB\n"
    "  --stats           print nodes, counted operations and moves of data on standard error\n"
    "  --timing          print one line a pass on standard error\n"
    "  --list            list the passes\n"
    "\n"
    "examples:\n"
    "  tricot opt model.tg --passes=standard --timing\n"
    "  tricot opt model.tg --passes=canon,cse,dce\n"
    "  tricot opt model.tg --passes=standard --stop-after=layout --stats\n";

typedef VEC(const char *) Names;

/* Adds the words of a list with commas; 'standard' adds the standard order. */
static void add_names(Arena *arena, Names *names, const char *list) {
  char *rest = NULL, *copy = arena_strdup(arena, list);
  for (char *name = strtok_r(copy, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
    int count = 0;
    const char *const *standard = passes_standard(&count);
    if (strcmp(name, "standard") != 0)
      vec_push(arena, names, name);
    else
      for (int i = 0; i < count; i++)
        vec_push(arena, names, standard[i]);
  }
}

static int list_passes(void) {
  for (int i = 0; i < pass_count(); i++)
    printf("%-10s %s%s\n", pass_at(i)->name, pass_at(i)->doc,
           pass_at(i)->required ? " (needed)" : "");
  printf("\nparts of fuse, which can be skipped like passes:\n");
  for (int i = 0; fusing_at(i); i++)
    printf("  %-8s %s\n", fusing_at(i)->name, fusing_at(i)->doc);
  int count;
  const char *const *standard = passes_standard(&count);
  printf("\nstandard order:");
  for (int i = 0; i < count; i++)
    printf(" %s", standard[i]);
  printf("\n");
  return EXIT_DONE;
}

typedef struct Request {
  Names passes, skip, dump;
  const char *file;
  PassOptions options;
  bool stats;
} Request;

static int usage(const char *problem, const char *word) {
  fprintf(stderr, "tricot opt: %s%s; try tricot opt --help\n", problem, word);
  return EXIT_USAGE;
}

/* The value of "--name=value", or NULL when the word is another option. */
static const char *option_value(const char *word, const char *name) {
  size_t length = strlen(name);
  return strncmp(word, name, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

static int read_budget(PassOptions *options, const char *value) {
  Error error;
  return bytes_parse(value, &options->memory_budget, &error)
             ? EXIT_DONE
             : usage("--memory-budget: ", error.text);
}

static int read_word(Arena *arena, Request *request, const char *word) {
  const char *value;
  if ((value = option_value(word, "--passes")))
    add_names(arena, &request->passes, value);
  else if ((value = option_value(word, "--skip")))
    add_names(arena, &request->skip, value);
  else if ((value = option_value(word, "--dump")))
    add_names(arena, &request->dump, value);
  else if ((value = option_value(word, "--stop-after")))
    request->options.stop_after = value;
  else if ((value = option_value(word, "--memory-budget")))
    return read_budget(&request->options, value);
  else if (strcmp(word, "--timing") == 0)
    request->options.timing = true;
  else if (strcmp(word, "--stats") == 0)
    request->stats = true;
  else if (word[0] == '-' && word[1])
    return usage("unknown option ", word);
  else if (request->file)
    return usage("more than one file: ", word);
  else
    request->file = word;
  return EXIT_DONE;
}

static char *read_stdin(Arena *arena, size_t *size) {
  Text text = {0};
  char block[1 << 14];
  for (size_t got; (got = fread(block, 1, sizeof block, stdin)) > 0;)
    text_add_bytes(&text, block, got);
  *size = text.size;
  char *copy = arena_strndup(arena, text.at ? text.at : "", text.size);
  text_free(&text);
  return copy;
}

static void print_stats(const Graph *graph) {
  Conversions conversions = graph_count_conversions(graph);
  fprintf(stderr, "@%s: %d nodes, %.0f counted operations, %d moves of data\n", graph->name,
          graph->nodes.count, graph_flops(graph), graph_count_moves(graph));
  fprintf(stderr, "@%s: layout conversions between kernels: %d (%d of data, %d of parameters)\n",
          graph->name, conversions.data + conversions.parameters, conversions.data,
          conversions.parameters);
}

static int run(Arena *arena, Diag *diag, const Request *request) {
  char *source;
  size_t size;
  Error error = {0};
  if (strcmp(request->file, "-") == 0)
    source = read_stdin(arena, &size);
  else if (!file_read(arena, request->file, (size_t)1 << 30, &source, &size, &error)) {
    fprintf(stderr, "%s\n", error.text);
    return EXIT_INPUT;
  }
  int count;
  Graph **graphs = graph_parse(arena, diag, request->file, source, size, &count);
  if (!graphs)
    return EXIT_INPUT;
  Facts facts = {.vector = 8, .registers = 16, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20};
  PassContext context = {.arena = arena, .diag = diag, .facts = &facts};
  Text text = {0};
  for (int i = 0; i < count; i++) {
    Graph *graph = passes_run(&context, graphs[i], request->passes.at, request->passes.count,
                              &request->options);
    if (!graph) {
      text_free(&text);
      return EXIT_INPUT;
    }
    if (i)
      text_add(&text, "\n");
    graph_print(graph, &text);
    if (request->stats)
      print_stats(graph);
  }
  fwrite(text.at, 1, text.size, stdout);
  text_free(&text);
  return EXIT_DONE;
}

static int read_and_run(Arena *arena, int argc, char **argv) {
  Request request = {0};
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
      fputs(help, stdout);
      return EXIT_DONE;
    }
    if (strcmp(argv[i], "--list") == 0)
      return list_passes();
    int status = read_word(arena, &request, argv[i]);
    if (status != EXIT_DONE)
      return status;
  }
  if (!request.file)
    return usage("no file given", "");
  request.options.skip = request.skip.at;
  request.options.n_skip = request.skip.count;
  request.options.dump = request.dump.at;
  request.options.n_dump = request.dump.count;
  request.options.dump_to = stdout;
  Diag diag;
  diag_init(&diag, arena);
  int status = run(arena, &diag, &request);
  diag_print(&diag, stderr);
  return status;
}

int cmd_opt(int argc, char **argv) {
  Arena *arena = arena_new();
  int status = read_and_run(arena, argc, argv);
  arena_free(arena);
  return status;
}
