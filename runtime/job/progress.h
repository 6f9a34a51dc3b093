/* How far a long job is: a bar with rate and time left on a terminal, plain lines elsewhere. */
#ifndef TRICOT_RUNTIME_JOB_PROGRESS_H
#define TRICOT_RUNTIME_JOB_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Progress {
  FILE *out;
  bool terminal, drawn; /* drawn: a bar stands on the current line */
  const char *what;     /* "train" */
  int64_t first, total; /* done before this run; to reach */
  double started, shown;
} Progress;

void progress_start(Progress *progress, const char *what, int64_t first, int64_t total);
/* note: more to show ("loss 2.03"), or "". Draws at most a few times a second; elsewhere than on a
 * terminal writes a line now and then. The last step is always shown. */
void progress_update(Progress *progress, int64_t done, const char *note);
/* Takes the bar away before something else is printed; the next update draws it again. */
void progress_clear(Progress *progress);
/* Ends the line. */
void progress_finish(Progress *progress);

double seconds_now(void);                               /* monotonic */
void seconds_text(double seconds, char *out, int room); /* "1:02:03", "04:05" */
#endif
