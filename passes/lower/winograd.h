/* Three taps on a line with six products for four results (winograd.c): the transforms. With d six
 * inputs in a row, g three weights and y four results, y = A^T ((G g) * (B^T d)); and so the
 * gradients, dg = G^T ((A dy) * (B^T d)).
 */
#ifndef TRICOT_PASSES_LOWER_WINOGRAD_H
#define TRICOT_PASSES_LOWER_WINOGRAD_H
#include "passes/lower/frame.h"

enum { WINOGRAD_POINTS = 6, WINOGRAD_RESULTS = 4 };

/* B^T d, A^T m, G g (absent taps are NULL), A dy, G^T m: tiles of one shape, of f32. */
void winograd_input(Frame *, Tile *const *d, Tile **v);
void winograd_output(Frame *, Tile *const *m, Tile **y);
void winograd_weights(Frame *, Tile *const *g, Tile **u);
void winograd_gradient(Frame *, Tile *const *dy, Tile **y);
void winograd_weights_gradient(Frame *, Tile *const *m, Tile **g);
#endif
