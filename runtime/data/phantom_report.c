/* What a report says about a phantom. See phantom.h.
 *
 * Each finding has its own sentences, for presence and absence, beside those that fit any finding
 * ("{Name} is present."). Which are used, in which order, and how many of the absent findings are
 * mentioned follow from the scan's number: some reports are a line, some go through everything.
 * Words in braces are filled in: {name} the finding, {Name} with a capital, {a} its article, {side}
 * "on the left", {which} "left", {size} "small" .. "large", {degree} "mild" .. "marked", {many} how
 * many.
 */
#include "runtime/base/random.h"
#include "runtime/data/phantom.h"
#include <ctype.h>
#include <string.h>

enum { SENTENCES = 6 };

typedef struct Words {
  const char *name;
  const char *present[SENTENCES], *absent[SENTENCES]; /* NULL after the last */
  const char *impression;                             /* in a list, lower case */
} Words;

static const Words words[PHANTOM_FINDINGS] = {
    [MEDICAL_MATERIAL] =
        {"medical material",
         {"A device lies under the skin of the {which} chest wall, its lead ends in the heart.",
          "Medical material: a generator in the {which} chest wall with a lead to the heart.",
          "Metallic medical material is seen {side}, with streak artifacts.",
          "An implanted device is seen in the {which} anterior chest wall."},
         {"No catheter, device or other medical material.", "There are no implants.",
          "No metallic medical material is seen."},
         "medical material in the {which} chest wall"},
    [ARTERIAL_CALCIFICATION] =
        {"arterial wall calcification",
         {"The wall of the aorta shows {degree} calcification.",
          "Calcified plaques are seen along the aorta.",
          "Arterial wall calcification, {degree}, in the thoracic aorta.",
          "There are calcifications in the wall of the aortic arch and descending aorta."},
         {"The aortic wall is not calcified.", "No calcified plaque of the aorta.",
          "The great vessels are free of calcification."},
         "{degree} arterial wall calcification"},
    [CARDIOMEGALY] = {"cardiomegaly",
                      {"The heart is enlarged.",
                       "Heart size is increased, in keeping with cardiomegaly.",
                       "There is {degree} cardiomegaly.",
                       "The transverse diameter of the heart is increased."},
                      {"The heart is of normal size.", "Heart size and contour are normal.",
                       "The heart is not enlarged."},
                      "{degree} cardiomegaly"},
    [HIATAL_HERNIA] = {"hiatal hernia",
                       {"A {size} hiatal hernia lies behind the heart.",
                        "Part of the stomach, with air in it, has herniated through the hiatus.",
                        "A {size} hernia of the stomach is seen above the diaphragm.",
                        "Hiatal hernia with an air-fluid level."},
                       {"The hiatus is of normal width, without hernia.",
                        "The stomach lies below the diaphragm.", "No hernia of the stomach."},
                       "{size} hiatal hernia"},
    [EMPHYSEMA] =
        {"emphysema",
         {"The lungs are hyperinflated with {degree} emphysema.",
          "Emphysematous changes, mainly in the upper lobes.",
          "There is {degree} emphysema with low attenuation of both lungs.",
          "Low attenuation areas of emphysema are seen in both lungs; the diaphragm is flat."},
         {"The lungs are not hyperinflated, no emphysema.", "No emphysematous change.",
          "Aeration of both lungs is normal."},
         "{degree} emphysema"},
    [ATELECTASIS] = {"atelectasis",
                     {"Atelectasis at the base of the {which} lung.",
                      "The {which} hemidiaphragm is raised, with basal atelectasis.",
                      "Volume loss of the {which} lower lobe due to {degree} atelectasis.",
                      "Airless lung at the {which} base, consistent with atelectasis."},
                     {"No collapse of a lobe.",
                      "Both lower lobes are well expanded, without atelectasis.",
                      "There is no volume loss."},
                     "atelectasis of the {which} lower lobe"},
    [LUNG_NODULE] = {"lung nodule",
                     {"{Many} round nodules are seen, the largest in the {which} lung.",
                      "A {size} lung nodule in the {which} lung.",
                      "The {which} lung contains a {size} solid nodule.",
                      "Lung nodule {side}, further examination is recommended."},
                     {"No nodule is seen in either lung.", "The lungs are free of nodules.",
                      "There is no suspicious nodule or mass."},
                     "lung nodule {side}"},
    [LUNG_OPACITY] = {"lung opacity",
                      {"Patchy ground-glass opacities are seen {side}.",
                       "There are hazy opacities {side}, {degree} in extent.",
                       "Lung opacity of ground-glass density, in patches, {side}.",
                       "Ground-glass lung opacity {side}, possibly infectious."},
                      {"No ground-glass opacity.", "The lungs are clear of opacities.",
                       "There is no patchy or hazy opacity."},
                      "ground-glass lung opacity {side}"},
    [PLEURAL_EFFUSION] = {"pleural effusion",
                          {"There is a {size} pleural effusion {side}.",
                           "Fluid collects in the pleural space {side}, a {size} amount.",
                           "Pleural effusion, {size}, is observed {side}.",
                           "Free pleural fluid {side}, reaching the dependent parts."},
                          {"The pleural spaces are free of fluid.",
                           "No pleural fluid on either side.",
                           "There is no pleural effusion or thickening."},
                          "{size} pleural effusion {side}"},
    [CONSOLIDATION] = {"consolidation",
                       {"An area of consolidation with air bronchograms in the {which} lung.",
                        "The {which} lung shows a {size} consolidation.",
                        "Dense consolidation is seen {side}, consistent with pneumonia.",
                        "Airspace consolidation of the {which} lung."},
                       {"No focal consolidation is seen.", "Neither lung is consolidated.",
                        "There is no airspace consolidation."},
                       "consolidation {side}"}};

static const char *const any_present[] = {"{Name} is present.", "{Name} is present {side}.",
                                          "There is {a}{name}.", "{Name} is seen."};
static const char *const any_absent[] = {"{Name} is not present.", "No {name} is seen.",
                                         "There is no {name}.", "{Name} is not present."};
static const char *const closings[] = {
    "The trachea and the main bronchi are open.", "Both lungs are imaged completely.",
    "The bones of the thorax show no fracture.",
    "The upper abdominal organs in the field of view are normal.",
    "The examination was made in deep inspiration."};
static const char *const normal[] = {"No pathological finding.", "Normal chest CT.",
                                     "Within normal limits."};
enum { ANY = 4, CLOSINGS = 5, NORMAL = 3 };

/* ---- choices ---- */

/* A run of random numbers of one scan. */
typedef struct Dice {
  uint64_t key, at;
} Dice;

static double roll(Dice *dice) { return random_uniform(dice->key, 0, dice->at++); }
static int roll_below(Dice *dice, int count) { return (int)(roll(dice) * count); }

static const char *pick_sentence(Dice *dice, const char *const own[SENTENCES],
                                 const char *const any[ANY]) {
  int count = 0;
  while (count < SENTENCES && own[count])
    count++;
  bool general = roll(dice) < 0.6;
  int which = roll_below(dice, general ? ANY : count);
  return general ? any[which] : own[which];
}

/* ---- filling in ---- */

static const char *value_of(const Phantom *p, Finding f, const char *word, size_t length) {
  static const char *const sides[] = {"on the right", "on the left", "on both sides"};
  static const char *const which[] = {"right", "left", "bilateral"};
  static const char *const sizes[] = {"small", "medium-sized", "large"};
  static const char *const degrees[] = {"mild", "moderate", "marked"};
  static const char *const numbers[] = {"one", "two", "three"};
  const struct {
    const char *word, *value;
  } known[] = {{"name", words[f].name},
               {"a", f == LUNG_NODULE || f == HIATAL_HERNIA ? "a " : ""},
               {"side", sides[phantom_side(p, f)]},
               {"which", which[phantom_side(p, f)]},
               {"size", sizes[(int)(3 * phantom_severity(p, f))]},
               {"degree", degrees[(int)(3 * phantom_severity(p, f))]},
               {"many", numbers[phantom_nodules(p) - 1]}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strlen(known[i].word) == length && strncasecmp(known[i].word, word, length) == 0)
      return known[i].value;
  FAULT("no word {%.*s} of a report", (int)length, word);
}

static void fill_in(const Phantom *p, Finding f, const char *sentence, Text *out) {
  for (const char *at = sentence; *at;) {
    const char *open = strchr(at, '{');
    if (!open) {
      text_add(out, "%s", at);
      return;
    }
    size_t length = strcspn(open + 1, "}");
    const char *value = value_of(p, f, open + 1, length);
    text_add_bytes(out, at, (size_t)(open - at));
    if (isupper((unsigned char)open[1]))
      text_add(out, "%c%s", toupper((unsigned char)*value), value + 1);
    else
      text_add(out, "%s", value);
    at = open + length + 2;
  }
}

/* Findings without a place of their own are not said to be on a side. */
static bool has_side(Finding f) {
  return f != CARDIOMEGALY && f != HIATAL_HERNIA && f != EMPHYSEMA && f != ARTERIAL_CALCIFICATION;
}

static bool fits(const Phantom *p, Finding f, const char *sentence) {
  bool many = f == LUNG_NODULE && phantom_nodules(p) > 1;
  return (has_side(f) || !strstr(sentence, "{side}")) &&
         (many || (!strstr(sentence, "{Many}") && !strstr(sentence, "{many}")));
}

static void add_sentence(const Phantom *p, Finding f, Dice *dice, Text *out) {
  const Words *w = &words[f];
  const char *sentence;
  do
    sentence = p->has[f] ? pick_sentence(dice, w->present, any_present)
                         : pick_sentence(dice, w->absent, any_absent);
  while (!fits(p, f, sentence));
  text_add(out, "%s", out->size ? " " : "");
  fill_in(p, f, sentence, out);
}

/* ---- the parts ---- */

static void shuffle(Dice *dice, int order[], int count) {
  for (int i = 0; i < count; i++)
    order[i] = i;
  for (int i = count - 1; i > 0; i--) {
    int k = roll_below(dice, i + 1), held = order[i];
    order[i] = order[k];
    order[k] = held;
  }
}

/* The present findings as a list, in detail or by their names alone, or each as a sentence. */
static void add_impression(const Phantom *p, const int order[], Dice *dice, Text *out) {
  bool list = roll(dice) < 0.5, detail = roll(dice) < 0.4;
  int present = 0;
  for (int i = 0; i < PHANTOM_FINDINGS; i++) {
    Finding f = (Finding)order[i];
    if (!p->has[f])
      continue;
    Text item = {0};
    fill_in(p, f, !list ? "{Name} is present." : detail ? words[f].impression : "{name}", &item);
    if (list && !present)
      item.at[0] = (char)toupper((unsigned char)item.at[0]);
    text_add(out, "%s%s", present++ ? (list ? ", " : " ") : "", item.at);
    text_free(&item);
  }
  if (!present)
    text_add(out, "%s", normal[roll_below(dice, NORMAL)]);
  else if (list)
    text_add(out, ".");
}

void phantom_report(const Phantom *p, Text *findings, Text *impression) {
  Dice dice = {.key = p->report};
  int order[PHANTOM_FINDINGS];
  double thorough = roll(&dice);
  bool brief = roll(&dice) < 0.3; /* what there is stands in the impression alone */
  shuffle(&dice, order, PHANTOM_FINDINGS);
  for (int i = 0; i < PHANTOM_FINDINGS; i++) {
    Finding f = (Finding)order[i];
    double mentioned = p->has[f] ? (brief ? 0.3 : 0.95) : 0.7 * thorough;
    if (roll(&dice) < mentioned)
      add_sentence(p, f, &dice, findings);
  }
  if (!findings->size || roll(&dice) < 0.3)
    text_add(findings, "%s%s", findings->size ? " " : "", closings[roll_below(&dice, CLOSINGS)]);
  shuffle(&dice, order, PHANTOM_FINDINGS);
  add_impression(p, order, &dice, impression);
}
