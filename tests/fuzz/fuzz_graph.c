/* Fuzzes graph_parse. A graph it accepts must satisfy the verifier (which alone decides whether an
 * input may be updated), and printing it gives a text that reads and prints the same. */
#include "ir/graph.h"
#include "tests/fuzz/fuzz.h"

static void print_all(Graph *const *graphs, int count, Text *text) {
  text_add(text, "%s", "");
  for (int i = 0; i < count; i++)
    graph_print(graphs[i], text);
}

static Graph **parse(Arena *arena, const char *text, size_t size, int *count) {
  Diag diag;
  diag_init(&diag, arena);
  Graph **graphs = graph_parse(arena, &diag, "t.tg", text, size, count);
  if (!graphs)
    expect_errors(&diag);
  return graphs;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  int count, again;
  Error error = {""};
  Arena *arena = arena_new();
  char *text = malloc(size ? size : 1);
  memcpy(text, bytes, size);
  Graph **graphs = parse(arena, text, size, &count);
  if (graphs) {
    Text first = {0}, second = {0};
    for (int i = 0; i < count; i++)
      if (!graph_check(graphs[i], &error) && !strstr(error.text, "which is data"))
        FAULT("the verifier refuses what was read: %s", error.text);
    print_all(graphs, count, &first);
    graphs = parse(arena, first.at, first.size, &again);
    CHECK(graphs && again == count);
    print_all(graphs, again, &second);
    CHECK(strcmp(first.at, second.at) == 0);
    text_free(&first);
    text_free(&second);
  }
  arena_free(arena);
  free(text);
  return 0;
}
