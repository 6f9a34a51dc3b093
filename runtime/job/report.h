/* One self-contained HTML page of an evaluation: inline style, SVG and PNG, no scripts, no links.
 *
 * Each evaluation writes its section to OUT/report/KIND.html; OUT/report.html is made of all
 * sections whose first line names the same weights. Everything is well-formed XML as well.
 */
#ifndef TRICOT_RUNTIME_JOB_REPORT_H
#define TRICOT_RUNTIME_JOB_REPORT_H
#include "runtime/job/eval.h"
#include "runtime/job/report_chart.h"

/* Puts the section away and makes the page anew. */
bool report_save(const Eval *eval, const Text *section, Error *error);
/* A heading and a table of what was evaluated how. */
void report_start(const Eval *eval, Text *out, const char *title, int64_t scored);
/* "0.512 (0.481 to 0.540)"; a dash when undefined. */
void report_number(Text *out, double value, bool bounded, double low, double high);
/* Curves of a training log (CSV with a column step or epoch), a chart for each of loss, lr and the
 * other numeric columns. False with an error when it cannot be read. */
bool report_curves(Text *out, const char *path, Error *error);
/* Axial slices through the middle of a few volumes, with labels and probabilities. */
bool report_slices(const Eval *eval, const Scores *scores, const double *probabilities, Text *out,
                   Error *error);
#endif
