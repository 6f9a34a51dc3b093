/* The frame of HTML pages. See html_page.h. */
#include "runtime/job/html_page.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1d2430;--soft:#5c6675;--rule:#d9dee6;--page:#fff;"
    "--card:#f5f7fa;--a:#2166ac;--b:#d9722e;--warn:#fff3d6;--warn-ink:#6b4a00}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9aa5b5;--rule:#343c48;"
    "--page:#161a20;--card:#1f252e;--a:#6cacea;--b:#f0985a;--warn:#3d3113;--warn-ink:#ffdf94}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);"
    "max-width:70rem;margin:0 auto;padding:1.5rem}\n"
    "h1{font-size:1.6rem;margin:0}h2{font-size:1.25rem;margin:2.5rem 0 .5rem;"
    "border-bottom:1px solid var(--rule)}h3{font-size:1rem;margin:1.5rem 0 .5rem}\n"
    "p{margin:.5rem 0}.soft{color:var(--soft)}\n"
    ".notice,.warn{background:var(--warn);color:var(--warn-ink);padding:.5rem .8rem;"
    "border-radius:6px}\n"
    "table{border-collapse:collapse;font-size:.85rem;margin:.5rem 0}"
    "th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--rule);"
    "font-variant-numeric:tabular-nums;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}table.facts td{text-align:left;"
    "white-space:normal}\n"
    ".wide{overflow-x:auto}svg{max-width:100%;height:auto;font-family:inherit}\n"
    ".title{font-size:13px;font-weight:600;fill:var(--ink)}.tick{font-size:11px;fill:var(--soft)}"
    ".label{font-size:12px;fill:var(--soft)}.name{font-size:12px;fill:var(--ink)}\n"
    ".grid{stroke:var(--rule)}.line{fill:none;stroke-width:1.8}.line.a{stroke:var(--a)}"
    ".line.b{stroke:var(--b)}.line.faint{stroke:var(--a);stroke-width:1;opacity:.35}"
    ".line.rule{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}\n"
    ".band{opacity:.18;stroke:none}.band.a{fill:var(--a)}.band.b{fill:var(--b)}"
    ".bar{fill:var(--a);opacity:.75}.whisker{fill:none;stroke:var(--ink);stroke-width:1.3}\n"
    ".grid-of{display:grid;grid-template-columns:repeat(auto-fill,minmax(11.5rem,1fr));gap:.8rem}"
    ".examples{grid-template-columns:repeat(auto-fill,minmax(16rem,1fr))}"
    ".card{background:var(--card);border-radius:6px;padding:.6rem;font-size:.8rem}"
    ".card img{width:100%;height:auto;border-radius:4px;background:#000}.card "
    "table{font-size:.78rem;"
    "width:100%}.card td,.card th{white-space:normal;padding:.1rem .2rem}.yes{color:var(--b);"
    "font-weight:600}\n"
    "@media print{body{max-width:none}}\n";

void html_add(Text *out, const char *text) {
  for (const unsigned char *at = (const unsigned char *)text; *at; at++)
    switch (*at) {
    case '&': text_add(out, "&amp;"); break;
    case '<': text_add(out, "&lt;"); break;
    case '>': text_add(out, "&gt;"); break;
    case '"': text_add(out, "&quot;"); break;
    case '\'': text_add(out, "&#39;"); break;
    default:
      if ((*at < 32 && *at != '\n') || *at == 127)
        text_add(out, " ");
      else
        text_add_bytes(out, (const char *)at, 1);
    }
}

void html_start(Text *out, const char *title, const char *name, const char *more) {
  text_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                "<title>");
  html_add(out, title);
  html_add(out, name);
  text_add(out, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<h1>", style, more);
  html_add(out, title);
  html_add(out, name);
}

void html_end(Text *out) { text_add(out, "</body>\n</html>\n"); }

void html_fact(Text *out, const char *name, const char *value) {
  text_add(out, "<tr><td>%s</td><td>", name);
  html_add(out, value);
  text_add(out, "</td></tr>");
}
