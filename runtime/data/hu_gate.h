/* Does a volume hold Hounsfield units? A judgement from where the peaks of its histogram lie.
 *
 * Air is at -1000 HU and soft tissue within -150..150 HU in every CT, so the histogram of a CT that
 * shows a body has a peak at each, or one at soft tissue alone. Volumes of CT-RATE are found in the
 * wild both already rescaled and not, and a second rescale (by -1024 or -8192) or none at all moves
 * both peaks by that much. The extremes say nothing: padding, metal and interpolation overshoot.
 *
 * Values that fill the outside of the scanned circle (one value, far below everything else) are
 * left out. Where the histogram has no peak that stands out, or fewer than a thousand voxels were
 * looked at, nothing is concluded.
 */
#ifndef TRICOT_RUNTIME_DATA_HU_GATE_H
#define TRICOT_RUNTIME_DATA_HU_GATE_H
#include "runtime/data/prepare.h"

enum { HU_PEAKS = 4 };

typedef enum HuVerdict {
  HU_GOOD,    /* a soft-tissue peak where it belongs */
  HU_UNCLEAR, /* no peaks, or peaks elsewhere that no rescale explains */
  HU_TWICE,   /* everything too low: rescaled a second time */
  HU_RAW      /* everything too high: not rescaled at all */
} HuVerdict;

typedef struct HuReport {
  HuVerdict verdict;
  int count;
  double at[HU_PEAKS];    /* HU of the peaks, the largest first */
  double share[HU_PEAKS]; /* of the voxels, within 100 HU of the peak */
} HuReport;

/* Looks at up to about a million voxels, evenly spread rows; the same for the same volume. */
void hu_gate_judge(const Volume *volume, const PrepareFacts *facts, HuReport *report);
/* True when the volume may pass. A volume that looks rescaled twice or not at all does not under
 * GATE_STOP (error "path: error: ..."), and passes with words in `warning` under GATE_WARN.
 * `warning` is empty otherwise. */
bool hu_gate(const Volume *volume, const PrepareFacts *facts, PrepareGate gate, const char *path,
             Error *warning, Error *error);
#endif
