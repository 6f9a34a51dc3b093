/* The taps of a composed convolution, for those who make and lower one. See compose.c. */
#ifndef TRICOT_IR_OPS_COMPOSE_H
#define TRICOT_IR_OPS_COMPOSE_H
#include <stdint.h>

/* Fills result (3 numbers a tap; room for n_taps * n_then) and slot[s * n_taps + t], the result tap
 * that outer tap s and inner tap t meet in. Returns how many there are. */
int tap_compose_taps(const int64_t *taps, int n_taps, const int64_t *stride, const int64_t *then,
                     int n_then, int64_t *result, int *slot);
#endif
