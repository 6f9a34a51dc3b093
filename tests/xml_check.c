/* xml_check [--scripts] FILE...: are these pages well-formed XML that need nothing from outside?
 *
 * Checks that every tag is closed by its own name, attributes are quoted and given once, < and &
 * appear as markup and entities only, and that there are no scripts (but within the page, with
 * --scripts) and no links to other files: src and href may hold data: URIs and fragments. Prints
 * FILE:LINE and the reason; status 1 then.
 */
#include "runtime/base/arena.h"
#include "runtime/base/file.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64, ATTRIBUTES = 32 };

typedef struct Page {
  const char *path, *text, *at;
  struct Name {
    const char *at;
    size_t size;
  } open[DEEPEST];
  int depth, tags;
  bool scripts; /* may have some */
} Page;

static bool bad(const Page *p, const char *what) {
  int line = 1;
  for (const char *c = p->text; c < p->at; c++)
    line += *c == '\n';
  fprintf(stderr, "%s:%d: error: %s: %.40s\n", p->path, line, what, p->at);
  return false;
}

static bool name_char(char c) { return isalnum((unsigned char)c) || (c && strchr("-_:.", c)); }

static bool entity(Page *p) {
  static const char *const known[] = {"amp;", "lt;", "gt;", "quot;", "#39;"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strncmp(p->at + 1, known[i], strlen(known[i])) == 0) {
      p->at += 1 + strlen(known[i]);
      return true;
    }
  return bad(p, "an & that is no entity");
}

static bool outside(const struct Name *name, const char *value) {
  bool link = (name->size == 3 && strncmp(name->at, "src", 3) == 0) ||
              (name->size >= 4 && strncmp(name->at + name->size - 4, "href", 4) == 0);
  return link && strncmp(value, "data:", 5) != 0 && *value != '#';
}

static bool attributes(Page *p, bool *empty) {
  struct Name seen[ATTRIBUTES];
  int count = 0;
  for (;;) {
    const char *before = p->at;
    p->at += strspn(p->at, " \n\t");
    *empty = *p->at == '/' && p->at[1] == '>';
    if (*empty || *p->at == '>') {
      p->at += *empty ? 2 : 1;
      return true;
    }
    struct Name name = {p->at, 0};
    while (name_char(*p->at))
      p->at++;
    name.size = (size_t)(p->at - name.at);
    if (!name.size || before == name.at || count == ATTRIBUTES)
      return bad(p, "no attribute where one belongs");
    for (int i = 0; i < count; i++)
      if (seen[i].size == name.size && strncmp(seen[i].at, name.at, name.size) == 0)
        return bad(p, "an attribute given twice");
    seen[count++] = name;
    if (p->at[0] != '=' || p->at[1] != '"')
      return bad(p, "an attribute without a quoted value");
    p->at += 2;
    if (outside(&name, p->at))
      return bad(p, "a link to another file");
    while (*p->at && *p->at != '"' && *p->at != '<')
      if (*p->at == '&' ? !entity(p) : (p->at++, false))
        return false;
    if (*p->at++ != '"')
      return bad(p, "a value that does not end");
  }
}

static bool tag(Page *p) {
  bool closing = p->at[1] == '/', empty;
  if (strncmp(p->at, "<!", 2) == 0) { /* the document type, or a comment */
    const char *mark = strncmp(p->at, "<!--", 4) == 0 ? "-->" : ">";
    const char *end = strstr(p->at, mark);
    if (!end)
      return bad(p, "a comment that does not end");
    p->at = end + strlen(mark);
    return true;
  }
  struct Name name = {p->at + 1 + closing, 0};
  while (name_char(name.at[name.size]))
    name.size++;
  if (!name.size)
    return bad(p, "a < that starts no tag");
  if (!p->scripts && name.size == 6 && strncmp(name.at, "script", 6) == 0)
    return bad(p, "a script");
  if (closing) {
    struct Name *last = p->depth ? &p->open[p->depth - 1] : NULL;
    if (!last || last->size != name.size || strncmp(last->at, name.at, name.size) != 0)
      return bad(p, "closes what is not open");
    p->depth--;
    p->at = name.at + name.size;
    return *p->at++ == '>' || bad(p, "a closing tag with more in it");
  }
  p->tags++;
  p->at = name.at + name.size;
  if (!attributes(p, &empty))
    return false;
  if (!empty && p->depth == DEEPEST)
    return bad(p, "nested too deeply");
  if (!empty)
    p->open[p->depth++] = name;
  return true;
}

static bool check(Page *p) {
  while (*p->at)
    if (*p->at == '<' ? !tag(p) : *p->at == '&' ? !entity(p) : (p->at++, false))
      return false;
  if (p->depth)
    return bad(p, "tags that are not closed at the end");
  return p->tags > 0 || bad(p, "no tags at all");
}

int main(int argc, char **argv) {
  bool scripts = argc > 1 && strcmp(argv[1], "--scripts") == 0, good = argc > 1 + scripts;
  for (int i = 1 + scripts; i < argc; i++) {
    Arena *arena = arena_new();
    Error error;
    char *text;
    size_t size;
    Page page = {.path = argv[i], .scripts = scripts};
    if (!file_read(arena, argv[i], (size_t)1 << 30, &text, &size, &error)) {
      fprintf(stderr, "%s\n", error.text);
      return 1;
    }
    page.text = page.at = text;
    good = check(&page) && strlen(text) == size && good;
    arena_free(arena);
  }
  return good ? 0 : 1;
}
