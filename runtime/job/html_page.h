/* The frame of the HTML pages that tricot writes: style, head, escapes. Pages are well-formed XML,
 * need nothing from outside, and follow the reader's light or dark colours. */
#ifndef TRICOT_RUNTIME_JOB_HTML_PAGE_H
#define TRICOT_RUNTIME_JOB_HTML_PAGE_H
#include "runtime/base/text.h"

/* From the document type to the first heading, "TITLE NAME". more: CSS rules of this page, or "".
 */
void html_start(Text *out, const char *title, const char *name, const char *more);
void html_end(Text *out);
/* Text with &, <, > and quotes escaped; control characters become spaces, but ends of lines stay.
 */
void html_add(Text *out, const char *text);
/* A row of a table of class "facts". */
void html_fact(Text *out, const char *name, const char *value);
#endif
