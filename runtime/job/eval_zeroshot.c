/* eval zeroshot: each volume's latent against the findings' prompts. */
#include "runtime/job/eval.h"
#include <stdlib.h>

static void add_prompts(const Zeroshot *z, Text *more, Text *about) {
  text_add(more, ",\n  \"templates\": [");
  text_add(about, "Prompts: ");
  for (int t = 0; t < z->n_templates; t++) {
    text_add(more, "%s[", t ? ", " : "");
    json_add_string(more, z->templates[t][0]);
    text_add(more, ", ");
    json_add_string(more, z->templates[t][1]);
    text_add(more, "]");
    text_add(about, "%s\"%s\" against \"%s\"", t ? "; " : "", z->templates[t][0],
             z->templates[t][1]);
  }
  text_add(more, "],\n  \"ensemble\": \"%s\",\n  \"factor\": ",
           z->average_probabilities ? "probabilities" : "latents");
  text_add_float(more, z->factor, 0);
  if (z->n_templates > 1)
    text_add(about, "; %s averaged", z->average_probabilities ? "probabilities" : "unit latents");
  text_add(about, ". Cosines are multiplied by %.6g.\n", z->factor);
}

bool eval_zeroshot(Eval *e, Error *error) {
  const Zeroshot *z = &e->zeroshot;
  double *probabilities =
      mem_alloc(sizeof *probabilities * (size_t)(e->dataset.count * z->n_findings + 1));
  for (int64_t i = 0; i < e->dataset.count; i++)
    zeroshot_score(z, e->latents + i * z->image.width, probabilities + i * z->n_findings);
  Text more = {0}, about = {0};
  add_prompts(z, &more, &about);
  bool good = eval_scores(e, probabilities, more.at, about.at, error);
  text_free(&more);
  text_free(&about);
  free(probabilities);
  return good;
}
