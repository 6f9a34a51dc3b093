/* A few slices of the volumes that were scored. See report.h.
 *
 * Prepared volumes are [D][H][W] with H along the first axis of the file (left-right) and W along
 * the second (front-back), so the slice is drawn transposed. Stored as LPS, as CT-RATE's are, it
 * then stands as radiologists expect it: front up, the patient's left on the right.
 */
#include "runtime/base/arena.h"
#include "runtime/data/png.h"
#include "runtime/job/report.h"
#include <math.h>
#include <stdlib.h>

enum { SLICES = 6, LONGEST = 256 };

static void add_slice(const Dataset *dataset, const float *voxels, Text *out) {
  const int64_t *size = dataset->size;
  const float *slice = voxels + size[0] / 2 * size[1] * size[2];
  int64_t longest = size[1] > size[2] ? size[1] : size[2], by = (longest + LONGEST - 1) / LONGEST;
  int width = (int)(size[1] / by), height = (int)(size[2] / by);
  uint8_t *pixels = mem_alloc((size_t)width * (size_t)height + 1);
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++) {
      double sum = 0;
      for (int64_t i = 0; i < by * by; i++)
        sum += slice[(x * by + i / by) * size[2] + y * by + i % by];
      double grey = 127.5 * (1 + sum / (double)(by * by)); /* values lie in [-1, 1] */
      pixels[y * width + x] = (uint8_t)fmin(fmax(grey + 0.5, 0), 255);
    }
  Text png = {0};
  png_add_grey(&png, pixels, width, height);
  text_add(out, "<img width=\"%d\" height=\"%d\" alt=\"axial slice\" src=\"data:image/png;base64,",
           width, height);
  base64_add(out, (const unsigned char *)png.at, png.size);
  text_add(out, "\"/>");
  text_free(&png);
  free(pixels);
}

/* Findings that are there or were predicted. */
static void add_findings(const Eval *e, const Scores *s, const DatasetSample *sample,
                         const double *probabilities, Text *out) {
  const Zeroshot *z = &e->zeroshot;
  int rows = 0;
  text_add(out, "<table><tr><th>finding</th><th>label</th><th>prob.</th></tr>");
  for (int c = 0; c < s->labelled.predictions.classes; c++) {
    int f = s->labelled.columns[c];
    bool present = sample->labels[z->labels[f]], predicted = probabilities[f] > s->thresholds[c];
    if (!present && !predicted)
      continue;
    rows++;
    text_add(out, "<tr><td>");
    html_add(out, z->findings[f]);
    text_add(out, "</td><td>%s</td><td%s>%.2f</td></tr>", present ? "yes" : "no",
             predicted ? " class=\"yes\"" : "", probabilities[f]);
  }
  if (!rows)
    text_add(out, "<tr><td>none present, none predicted</td><td></td><td></td></tr>");
  text_add(out, "</table>");
}

bool report_slices(const Eval *e, const Scores *s, const double *probabilities, Text *out,
                   Error *error) {
  const Dataset *d = &e->dataset;
  const int64_t *size = d->size, labelled = s->labelled.predictions.samples;
  int64_t wanted = labelled < SLICES ? labelled : SLICES, seen = 0, shown = 0;
  float *voxels = mem_alloc(sizeof *voxels * (size_t)(size[0] * size[1] * size[2]));
  bool good = true;
  text_add(out, "<h3>Examples</h3>\n<p class=\"soft\">The axial slice through the middle of the "
                "prepared volume, front of the patient up when it is stored as LPS; findings that "
                "are labelled or predicted (coloured).</p>\n"
                "<div class=\"grid-of examples\">\n");
  for (int i = 0; good && i < d->count && shown < wanted; i++) {
    if (!d->samples[i].has_labels || seen++ != shown * labelled / wanted)
      continue;
    shown++;
    good = dataset_volume(d, i, voxels, error);
    if (!good)
      break;
    text_add(out, "<div class=\"card\">");
    add_slice(d, voxels, out);
    text_add(out, "<div>");
    html_add(out, d->samples[i].volume);
    text_add(out, "</div>");
    add_findings(e, s, &d->samples[i], probabilities + (int64_t)i * e->zeroshot.n_findings, out);
    text_add(out, "</div>\n");
  }
  text_add(out, "</div>\n");
  free(voxels);
  return good;
}
