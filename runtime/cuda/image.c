/* Names of CUDA architectures, and which image a device takes. See image.h. */
#include "runtime/cuda/image.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *cuda_arch_text(CudaArch arch, bool ptx, char *text) {
  char feature[2] = {arch.feature, '\0'};
  snprintf(text, CUDA_ARCH_TEXT, "%s_%d%s", ptx ? "compute" : "sm", arch.capability, feature);
  return text;
}

bool cuda_arch_parse(const char *text, CudaArch *arch, bool *ptx) {
  *ptx = strncmp(text, "compute_", 8) == 0;
  if (!*ptx && strncmp(text, "sm_", 3) != 0)
    return false;
  const char *digits = text + (*ptx ? 8 : 3);
  char *end;
  if (!isdigit((unsigned char)*digits))
    return false;
  long capability = strtol(digits, &end, 10);
  if (capability < 10 || capability > 999 || (*end && end[1]))
    return false;
  *arch = (CudaArch){(int)capability, *end};
  return *end == '\0' || *end == 'a' || *end == 'f';
}

static bool runs_on(const CudaImage *image, int capability) {
  CudaArch arch = image->arch;
  if (arch.feature == 'a')
    return arch.capability == capability;
  bool family = arch.capability / 10 == capability / 10 && arch.capability <= capability;
  return image->ptx && !arch.feature ? arch.capability <= capability : family;
}

/* Cubins before PTX, then what was made for more, then what has features of its own. */
static bool is_better(const CudaImage *a, const CudaImage *b) {
  if (a->ptx != b->ptx)
    return !a->ptx;
  if (a->arch.capability != b->arch.capability)
    return a->arch.capability > b->arch.capability;
  return a->arch.feature == 'a' || (a->arch.feature && !b->arch.feature);
}

int cuda_image_choose(const CudaImage *images, int count, int capability) {
  int best = -1;
  for (int i = 0; i < count; i++)
    if (runs_on(&images[i], capability) && (best < 0 || is_better(&images[i], &images[best])))
      best = i;
  return best;
}
