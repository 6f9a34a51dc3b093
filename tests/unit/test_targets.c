/* Every op on every target: each sample and each of some larger graphs is compiled as an entry
 * point for several sets of facts, and run by the kernel interpreter, the JIT, compiled C and the
 * CUDA text on the host shim. Results must agree with the graph interpreter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/emit.h"
#include "driver/build.h"
#include "passes/kernel/kernel_pass.h"
#include "tests/unit/device_facts.h"
#include "tests/unit/op_samples.h"
#include <stdlib.h>

typedef enum { BY_EVAL, BY_JIT, BY_C, BY_SHIM } Way;

/* caches so small that the samples do not fit: bands, streams and chains are made of them too */
static const Facts avx512 = {
    .vector = 16, .registers = 32, .threads = 1, .l1 = 8 << 10, .l2 = 16 << 10};
static const Facts avx2 = {
    .vector = 8, .registers = 16, .threads = 1, .l1 = 32 << 10, .l2 = 1 << 20};
/* Larger graphs, where tiles have borders, several rows and more than one block. */
static const struct Sample larger[] = {
    {"%x: f32[2,9,7,21,32], %w: f32[7,32,32]",
     "%r = tap_conv %x, %w taps=[0,0,0,-1,0,0,1,0,0,0,-1,0,0,1,0,0,0,-1,0,0,1] stride=[1,1,1] "
     "size=[9,7,21] : f32[2,9,7,21,32]"},
    /* lines of three taps with fewer products: a star, one axis at a time, sums, their statistics
     */
    {"%x: f32[1,8,8,31,16], %w: f32[7,16,40]",
     "%r = tap_conv %x, %w taps=[0,0,0,-1,0,0,1,0,0,0,-1,0,0,1,0,0,0,-1,0,0,1] stride=[1,1,1] "
     "size=[8,8,31] : f32[1,8,8,31,40]"},
    {"%x: f32[1,8,5,16,16], %w: f32[3,16,32]",
     "%r = tap_conv %x, %w taps=[-1,0,0,0,0,0,1,0,0] stride=[1,1,1] size=[8,5,16] "
     ": f32[1,8,5,16,32]"},
    {"%x: f32[1,3,11,24,16], %w: f32[3,16,20]",
     "%r = tap_conv %x, %w taps=[0,1,0,0,0,0,0,-1,0] stride=[1,1,1] size=[3,11,24] "
     ": f32[1,3,11,24,20]"},
    {"%x: f32[2,3,5,32,16], %w: f32[3,16,32], %b: f32[32]",
     "%y = tap_conv %x, %w taps=[0,0,-1,0,0,0,0,0,1] stride=[1,1,1] size=[3,5,32] "
     ": f32[2,3,5,32,32]\n  %c = reshape %b shape=[1,1,1,1,32] : f32[1,1,1,1,32]\n  "
     "%d = broadcast %c shape=[2,3,5,32,32] : f32[2,3,5,32,32]\n  %z = add %y, %d "
     ": f32[2,3,5,32,32]\n  %s = reduce_sum %z axes=[0,1,2,3] : f32[1,1,1,1,32]\n  "
     "%v = variance %z axes=[0,1,2,3] : f32[1,1,1,1,32]\n  ret %z, %s, %v"},
    {"%x: f32[1,8,8,23,16], %y: f32[1,8,8,23,16], %z: f32[1,8,8,23,16], %u: f32[3,16,32], "
     "%v: f32[3,16,32], %w: f32[3,16,32]",
     "%a = tap_conv %x, %u taps=[-1,0,0,0,0,0,1,0,0] stride=[1,1,1] size=[8,8,23] "
     ": f32[1,8,8,23,32]\n  %b = tap_conv %y, %v taps=[0,-1,0,0,0,0,0,1,0] stride=[1,1,1] "
     "size=[8,8,23] : f32[1,8,8,23,32]\n  %c = tap_conv %z, %w taps=[0,0,-1,0,0,0,0,0,1] "
     "stride=[1,1,1] size=[8,8,23] : f32[1,8,8,23,32]\n  %d = add %a, %b : f32[1,8,8,23,32]\n  "
     "%r = add %d, %c : f32[1,8,8,23,32]"},
    /* their gradients by the weights, along each axis; dy made there and stored */
    {"%x: f32[2,8,5,16,16], %dy: f32[2,8,5,16,32]",
     "%r = tap_conv_grad_weight %x, %dy taps=[-1,0,0,0,0,0,1,0,0] stride=[1,1,1] : f32[3,16,32]"},
    {"%x: f32[2,3,8,16,16], %y: f32[2,3,8,16,32], %m: f32[2,3,8,16,32]",
     "%e = tanh %y : f32[2,3,8,16,32]\n  %dy = mul %e, %m : f32[2,3,8,16,32]\n  %r = "
     "tap_conv_grad_weight %x, %dy taps=[0,1,0,0,0,0,0,-1,0] stride=[1,1,1] : f32[3,16,32]\n  "
     "ret %r, %dy"},
    {"%x: f32[1,5,8,32,16], %dy: f32[1,5,8,32,32]",
     "%r = tap_conv_grad_weight %x, %dy taps=[0,0,-1,0,0,0,0,0,1] stride=[1,1,1] "
     ": f32[3,16,32]"},
    {"%x: f32[1,20,12,24,1], %w: f32[5,1,40]",
     "%r = tap_conv %x, %w taps=[0,0,0,-3,0,0,0,2,0,0,0,-1,3,0,0] stride=[4,4,4] size=[5,3,6] "
     ": f32[1,5,3,6,40]"},
    {"%x: f32[2,21,14,27,1], %w: f32[7,1,20]", /* kept in parts, with gaps */
     "%r = tap_conv %x, %w taps=[-3,0,0,-1,0,0,0,-2,0,0,0,0,0,0,1,0,3,0,2,0,0] stride=[4,4,4] "
     "size=[5,4,7] : f32[2,5,4,7,20]"},
    {"%x: f32[2,12,8,10,3], %dy: f32[2,3,4,5,20]",
     "%r = tap_conv_grad_weight %x, %dy taps=[0,0,0,-1,0,0,1,0,0,0,-1,0] stride=[4,2,2] "
     ": f32[4,3,20]"},
    {"%x: f32[2,5,3,6,24], %w: f32[3,24,17]",
     "%r = tap_conv %x, %w taps=[0,0,0,-1,0,1,1,0,0] stride=[1,1,1] divisor=[2,1,2] size=[10,3,11] "
     ": f32[2,10,3,11,17]"},
    {"%x: f32[2,6,5,19,24], %dy: f32[2,6,5,19,40]",
     "%r = tap_conv_grad_weight %x, %dy taps=[0,0,0,-1,0,0,1,0,0,0,0,-1] stride=[1,1,1] "
     ": f32[4,24,40]"},
    {"%x: f32[3,4,5,1,24], %dy: f32[3,4,5,1,40]",
     "%r = tap_conv_grad_weight %x, %dy taps=[-1,0,0,0,0,0,1,0,0] stride=[1,1,1] : f32[3,24,40]"},
    {"%x: f32[2,4,5,70,1], %dy: f32[2,4,5,35,40]",
     "%r = tap_conv_grad_weight %x, %dy taps=[0,0,-2,0,0,0,0,0,2] stride=[1,1,2] : f32[3,1,40]"},
    {"%x: f32[2,12,5,18,3], %dy: f32[2,6,5,18,20]", /* taps on a line, some channels */
     "%r = tap_conv_grad_weight %x, %dy taps=[-2,0,0,0,0,0,2,0,0] stride=[2,1,1] : f32[3,3,20]"},
    {"%x: f32[2,6,5,20,24], %y: f32[2,6,5,20,40], %m: f32[2,6,5,20,40]", /* dy made there */
     "%e = tanh %y : f32[2,6,5,20,40]\n  %dy = mul %e, %m : f32[2,6,5,20,40]\n  "
     "%r = tap_conv_grad_weight %x, %dy taps=[0,0,0,-1,0,0,1,0,0,0,0,-1] stride=[1,1,1] "
     ": f32[4,24,40]"},
    {"%x: f32[2,12,5,9,3], %dy: f32[2,6,5,3,20]",
     "%r = tap_conv_grad_weight %x, %dy taps=[0,0,0,-1,0,1] stride=[2,1,3] : f32[2,3,20]"},
    {"%x: f32[2,6,5,19,48], %w: f32[7,48]",
     "%r = tap_depthwise %x, %w taps=[0,0,0,-3,0,0,3,0,0,0,-2,0,0,2,0,0,0,-1,0,0,1] "
     "stride=[1,1,1] size=[6,5,19] : f32[2,6,5,19,48]"},
    {"%x: f32[2,9,7,21,16], %w: f32[4,16], %u: f32[16,40], %v: f32[40,16]",
     "%a = tap_depthwise %x, %w taps=[0,0,0,-1,0,0,0,2,0,0,0,-1] stride=[1,1,1] size=[9,7,21] "
     ": f32[2,9,7,21,16]\n  %b = matmul %a, %u : f32[2,9,7,21,40]\n  %c = tanh %b : "
     "f32[2,9,7,21,40]"
     "\n  %d = matmul %c, %v : f32[2,9,7,21,16]\n  %r = add %d, %x : f32[2,9,7,21,16]"},
    {"%x: f32[1,9,17,15,20], %w: f32[1,20,33]",
     "%m, %n = tap_max %x taps=[0,0,0,-1,0,0,0,1,0,0,0,-1] stride=[1,2,1] size=[9,9,15] "
     ": f32[1,9,9,15,20], u8[1,9,9,15,20]\n  "
     "%r = tap_conv %m, %w taps=[0,0,0] stride=[1,1,1] size=[9,9,15] : f32[1,9,9,15,33]"},
    /* boxes line by line, with many equal elements: slowest along the line, then in the middle */
    {"%x: f32[1,12,9,28,16], %w: f32[1,16,33]",
     "%e = sign %x : f32[1,12,9,28,16]\n  %m, %n = tap_max %e stride=[2,2,2] size=[6,5,14] taps=["
     "-1,-1,-1,0,-1,-1,1,-1,-1,-1,0,-1,0,0,-1,1,0,-1,-1,1,-1,0,1,-1,1,1,-1,-1,-1,0,0,-1,0,1,-1,0,-"
     "1,0,0,0,0,0,1,0,0,-1,1,0,0,1,0,1,1,0,-1,-1,1,0,-1,1,1,-1,1,-1,0,1,0,0,1,1,0,1,-1,1,1,0,1,1,1,"
     "1,1] : f32[1,6,5,14,16], u8[1,6,5,14,16]\n  "
     "%r = tap_conv %m, %w taps=[0,0,0] stride=[1,1,1] size=[6,5,14] : f32[1,6,5,14,33]\n  "
     "%t = cast %n dtype=f32 : f32[1,6,5,14,16]\n  ret %r, %m, %t"},
    {"%x: f32[1,6,9,15,32], %w: f32[1,32,20]",
     "%e = sign %x : f32[1,6,9,15,32]\n  %m, %n = tap_max %e stride=[2,1,1] size=[3,9,15] taps=["
     "-1,-1,-1,0,-1,-1,1,-1,-1,-1,-1,0,0,-1,0,1,-1,0,-1,-1,1,0,-1,1,1,-1,1,-1,0,-1,0,0,-1,1,0,-1,-"
     "1,0,0,0,0,0,1,0,0,-1,0,1,0,0,1,1,0,1,-1,1,-1,0,1,-1,1,1,-1,-1,1,0,0,1,0,1,1,0,-1,1,1,0,1,1,1,"
     "1,1] : f32[1,3,9,15,32], u8[1,3,9,15,32]\n  "
     "%r = tap_conv %m, %w taps=[0,0,0] stride=[1,1,1] size=[3,9,15] : f32[1,3,9,15,20]\n  "
     "%t = cast %n dtype=f32 : f32[1,3,9,15,32]\n  ret %r, %t"},
    {"%x: f32[1,6,9,27,16], %w: f32[1,16,20]", /* nobody asks which */
     "%e = tanh %x : f32[1,6,9,27,16]\n  %m, %n = tap_max %e stride=[2,1,2] size=[3,9,14] taps=["
     "-1,-1,-1,-1,-1,0,-1,-1,1,-1,0,-1,-1,0,0,-1,0,1,-1,1,-1,-1,1,0,-1,1,1,0,-1,-1,0,-1,0,0,-1,1,0,"
     "0,-1,0,0,0,0,0,1,0,1,-1,0,1,0,0,1,1,1,-1,-1,1,-1,0,1,-1,1,1,0,-1,1,0,0,1,0,1,1,1,-1,1,1,0,1,"
     "1,1] : f32[1,3,9,14,16], u8[1,3,9,14,16]\n  "
     "%r = tap_conv %m, %w taps=[0,0,0] stride=[1,1,1] size=[3,9,14] : f32[1,3,9,14,20]"},
    {"%x: f32[1,9,17,15,20], %w: f32[1,20,33], %d: f32[1,9,9,15,33]", /* others read the rows too */
     "%m, %n = tap_max %x taps=[0,0,0,-1,0,0,0,1,0,0,0,-1] stride=[1,2,1] size=[9,9,15] "
     ": f32[1,9,9,15,20], u8[1,9,9,15,20]\n  "
     "%r = tap_conv %m, %w taps=[0,0,0] stride=[1,1,1] size=[9,9,15] : f32[1,9,9,15,33]\n  "
     "%s = tap_conv_grad_weight %m, %d taps=[0,0,0] stride=[1,1,1] : f32[1,20,33]\n  "
     "%t = cast %n dtype=f32 : f32[1,9,9,15,20]\n  ret %r, %s, %t"},
    {"%x: f32[2,9,7,21,12], %d: f32[2,9,7,21,12], %w: f32[12,33], %v: f32[12,33], %z: f32[33,12]",
     /* a gradient: two products side by side, a third after them, and all the sums over rows */
     "%a = matmul %x, %w : f32[2,9,7,21,33]\n  %b = tanh %a : f32[2,9,7,21,33]\n  "
     "%c = matmul %d, %v : f32[2,9,7,21,33]\n  %e = mul %b, %c : f32[2,9,7,21,33]\n  "
     "%f = matmul %e, %z : f32[2,9,7,21,12]\n  %g = reshape %b shape=[2646,33] : f32[2646,33]\n  "
     "%h = reshape %d shape=[2646,12] : f32[2646,12]\n  "
     "%i = matmul %h, %g ta=1 : f32[12,33]\n  %j = reshape %e shape=[2646,33] : f32[2646,33]\n  "
     "%k = reshape %x shape=[2646,12] : f32[2646,12]\n  %l = matmul %j, %k ta=1 : f32[33,12]\n  "
     "%m = reduce_sum %e axes=[0,1,2,3] : f32[1,1,1,1,33]\n  %n = mul %m, %m : f32[1,1,1,1,33]\n  "
     "%o = mul %f, %x : f32[2,9,7,21,12]\n  "
     "%p = reduce_sum %o axes=[0,1,2,3] : f32[1,1,1,1,12]\n  "
     "%q = reduce_max %f axes=[0,1,2,3] : f32[1,1,1,1,12]\n  ret %f, %i, %l, %m, %n, %p, %q"},
    {"%x: f32[70,95], %d: f32[70,90]", /* both operands copied, in parts of k, with rests */
     "%a = matmul %x, %d ta=1 : f32[95,90]\n  %r = tanh %a : f32[95,90]"},
    {"%x: f32[71,95], %d: f32[71,96], %w: f32[96,200]", /* in mixed precision: in pairs */
     "%a = tanh %x : f32[71,95]\n  %b = tanh %d : f32[71,96]\n  %u = tanh %w : f32[96,200]\n  "
     "%g = matmul %a, %b ta=1 : f32[95,96]\n  %y = matmul %b, %u : f32[71,200]\n  ret %g, %y"},
    {"%x: f32[2,49,32], %w: f32[32,1024]", /* rows of the matrix whole pages apart */
     "%r = matmul %x, %w : f32[2,49,1024]"},
    {"%x: f32[700,16], %d: f32[700,16], %w: f32[16,40]", /* rows of one axis */
     "%a = matmul %x, %w : f32[700,40]\n  %b = tanh %a : f32[700,40]\n  "
     "%c = matmul %b, %d ta=1 : f32[40,16]\n  %s = reduce_sum %b axes=[0] : f32[1,40]\n  "
     "ret %c, %s"},
    {"%x: f32[2,12,13,40,1], %u: f32[4,1,40], %b: f32[40], %w: f32[5,40,33]",
     "%r = tap_conv_outside %x, %u, %b, %w taps=[0,0,0,-1,0,0,0,2,0,0,0,3] stride=[2,2,2] "
     "size=[6,7,20] then=[0,0,0,-1,0,0,0,1,0,0,0,-2,1,0,2] : f32[2,6,7,20,33]"},
    {"%x: f32[2,12,13,40,1], %u: f32[5,1,40], %d: f32[4,1,24], %b: f32[24], %w: f32[3,24,40]",
     "%y = tap_conv %x, %u taps=[0,0,0,-1,0,0,0,2,0,0,0,3,0,0,-3] stride=[2,2,2] size=[6,7,20] "
     ": f32[2,6,7,20,40]\n  %z = tap_conv_outside %x, %d, %b, %w taps=[0,0,0,-1,0,0,0,2,0,0,0,3] "
     "stride=[2,2,2] size=[6,7,20] then=[0,0,0,0,1,0,0,0,-2] : f32[2,6,7,20,40]\n  "
     "%r = sub %y, %z : f32[2,6,7,20,40]"},
    {"%u: f32[7,2,40], %w: f32[4,40,33]",
     "%r = tap_compose %u, %w taps=[-1,0,0,0,0,0,1,0,0,0,-1,0,0,1,0,0,0,-1,0,0,1] stride=[2,2,2] "
     "then=[0,0,0,1,0,0,0,1,0,0,0,1] : f32[25,2,33]"},
    {"%x: f32[2,5,6,21,24], %w: f32[3,24,40]",
     "%y = tap_conv %x, %w taps=[0,0,0,-1,0,0,0,0,1] stride=[1,1,1] size=[5,6,21] "
     ": f32[2,5,6,21,40]\n  %s = reduce_sum %y axes=[0,1,2,3] : f32[1,1,1,1,40]\n  "
     "%v = variance %y axes=[0,1,2,3] : f32[1,1,1,1,40]\n  %a = broadcast %v shape=[2,5,6,21,40] "
     ": f32[2,5,6,21,40]\n  %b = mul %y, %a : f32[2,5,6,21,40]\n  %c = broadcast %s "
     "shape=[2,5,6,21,40] : f32[2,5,6,21,40]\n  %r = add %b, %c : f32[2,5,6,21,40]"},
    {"%x: f32[2,5,6,19,48], %w: f32[2,48]",
     "%y = tap_depthwise %x, %w taps=[0,0,0,-1,0,1] stride=[1,1,1] size=[5,6,19] "
     ": f32[2,5,6,19,48]\n  %r = variance %y axes=[0,1,2,3] : f32[1,1,1,1,48]"},
    {"%dy: f32[2,3,3,2,24], %n: u8[2,3,3,2,24]",
     "%y = tap_max_grad %dy, %n taps=[0,0,0,1,-1,1,-1,1,-1,1,0,0] divisor=[2,2,2] size=[6,5,3] "
     ": f32[2,6,5,3,24]\n  %v = variance %y axes=[0,1,2,3] : f32[1,1,1,1,24]\n  "
     "%s = reduce_sum %y axes=[0,1,2,3] : f32[1,1,1,1,24]\n  %r = add %v, %s : f32[1,1,1,1,24]"},
    {"%dy: f32[2,3,3,2,24], %w: f32[4,24]",
     "%y = tap_depthwise %dy, %w taps=[0,0,0,1,-1,1,-1,1,-1,1,0,0] stride=[1,1,1] divisor=[2,2,2] "
     "size=[6,5,3] : f32[2,6,5,3,24]\n  %r = variance %y axes=[0,1,2,3] : f32[1,1,1,1,24]"},
    {"%dy: f32[2,3,3,1,24], %w: f32[4,24]",
     "%y = tap_depthwise %dy, %w taps=[0,0,0,1,-1,0,-1,1,0,1,0,0] stride=[1,1,1] divisor=[2,2,8] "
     "size=[6,5,3] : f32[2,6,5,3,24]\n  %r = variance %y axes=[0,1,2,3] : f32[1,1,1,1,24]"},
    {"%x: f32[2,9,7,15,24], %u: f32[3,24,40], %y: f32[2,9,7,15,40], %v: f32[2,40,40], "
     "%z: f32[2,3,7,15,20], %w: f32[2,20,40]",
     "%a = tap_conv %x, %u taps=[0,0,0,-1,0,0,1,0,0] stride=[1,1,1] size=[9,7,15] "
     ": f32[2,9,7,15,40]\n  %b = tap_conv %y, %v taps=[0,-2,0,0,0,1] stride=[1,1,1] size=[9,7,15] "
     ": f32[2,9,7,15,40]\n  %c = tap_conv %z, %w taps=[0,0,0,1,0,-1] stride=[1,1,1] "
     "divisor=[3,1,1] size=[9,7,15] : f32[2,9,7,15,40]\n  %d = add %a, %b : f32[2,9,7,15,40]\n  "
     "%e = mul %d, %c : f32[2,9,7,15,40]\n  %s = reduce_sum %e axes=[0,1,2,3] : f32[1,1,1,1,40]\n  "
     "%f = broadcast %s shape=[2,9,7,15,40] : f32[2,9,7,15,40]\n  "
     "%r = add %e, %f : f32[2,9,7,15,40]"},
    {"%x: f32[1,30,5,24], %u: f32[24,40], %y: f32[1,30,5,30], %v: f32[30,40]", /* lines of 5 */
     "%a = matmul %x, %u : f32[1,30,5,40]\n  %b = matmul %y, %v : f32[1,30,5,40]\n  "
     "%r = sub %b, %a : f32[1,30,5,40]"},
    {"%dy: f32[3,1,1,1,24], %n: u8[3,1,1,1,24]", /* all of a pool's taps */
     "%y = tap_max_grad %dy, %n "
     "taps=[1,1,1,1,1,0,1,1,-1,1,0,1,1,0,0,1,0,-1,1,-1,1,1,-1,0,1,-1,-1,0,1,1,0,1,0,0,1,-1,0,0,1,0,"
     "0,0,0,0,-1,0,-1,1,0,-1,0,0,-1,-1,-1,1,1,-1,1,0,-1,1,-1,-1,0,1,-1,0,0,-1,0,-1,-1,-1,1,-1,-1,0,"
     "-1,-1,-1] divisor=[2,2,2] size=[2,2,1] : f32[3,2,2,1,24]\n  "
     "%s = reduce_sum %y axes=[0,1,2,3] : f32[1,1,1,1,24]\n  ret %y, %s"},
    {"%dy: f32[3,1,1,1,24], %n: u8[3,1,1,1,24]",
     "%y = tap_max_grad %dy, %n "
     "taps=[1,1,1,1,1,0,1,1,-1,1,0,1,1,0,0,1,0,-1,1,-1,1,1,-1,0,1,-1,-1,0,1,1,0,1,0,0,1,-1,0,0,1,0,"
     "0,0,0,0,-1,0,-1,1,0,-1,0,0,-1,-1,-1,1,1,-1,1,0,-1,1,-1,-1,0,1,-1,0,0,-1,0,-1,-1,-1,1,-1,-1,0,"
     "-1,-1,-1] divisor=[2,2,2] size=[2,2,1] : f32[3,2,2,1,24]"},
    {"%dy: f32[3,2,3,1,24], %n: u8[3,2,3,1,24]", /* all of a pool's taps */
     "%y = tap_max_grad %dy, %n "
     "taps=[1,1,1,1,1,0,1,1,-1,1,0,1,1,0,0,1,0,-1,1,-1,1,1,-1,0,1,-1,-1,0,1,1,0,1,0,0,1,-1,0,0,1,0,"
     "0,0,0,0,-1,0,-1,1,0,-1,0,0,-1,-1,-1,1,1,-1,1,0,-1,1,-1,-1,0,1,-1,0,0,-1,0,-1,-1,-1,1,-1,-1,0,"
     "-1,-1,-1] divisor=[2,2,2] size=[4,6,2] : f32[3,4,6,2,24]\n  "
     "%s = reduce_sum %y axes=[0,1,2,3] : f32[1,1,1,1,24]\n  ret %y, %s"},
    {"%dy: f32[3,2,3,1,24], %n: u8[3,2,3,1,24]",
     "%y = tap_max_grad %dy, %n "
     "taps=[1,1,1,1,1,0,1,1,-1,1,0,1,1,0,0,1,0,-1,1,-1,1,1,-1,0,1,-1,-1,0,1,1,0,1,0,0,1,-1,0,0,1,0,"
     "0,0,0,0,-1,0,-1,1,0,-1,0,0,-1,-1,-1,1,1,-1,1,0,-1,1,-1,-1,0,1,-1,0,0,-1,0,-1,-1,-1,1,-1,-1,0,"
     "-1,-1,-1] divisor=[2,2,2] size=[4,6,2] : f32[3,4,6,2,24]"},
    {"%x: f32[40,6,50]", "%r = variance %x axes=[0,1] : f32[1,1,50]"},
    {"%x: f32[40,6,50]", "%r = variance %x axes=[0,1,2] : f32[1,1,1]"},
    {"%x: f32[40,6,50]", "%r = variance %x axes=[1] : f32[40,1,50]"},
    {"%x: f32[2,6,5,18,40], %dy: f32[2,6,5,18,40]",
     "%r = tap_depthwise_grad_weight %x, %dy taps=[0,0,0,-3,0,0,0,1,0,0,0,-2] stride=[1,1,1] "
     ": f32[4,40]"},
    {"%x: f32[1,32,9,8,11]",
     "%r, %n = max_pool %x kernel=[3,3,3] stride=[2,2,2] pad=[1,1,1] : f32[1,32,5,4,6], "
     "u8[1,32,5,4,6]"},
    {"%x: f32[2,70,20], %y: f32[20,1024], %b: f32[1,1,1024]", /* groups of rows, B copied */
     "%a = matmul %x, %y : f32[2,70,1024]\n  %c = broadcast %b shape=[2,70,1024] : f32[2,70,1024]\n"
     "  %r = add %a, %c : f32[2,70,1024]"},
    {"%x: f32[90,36], %y: f32[36,200]", "%r = matmul %x, %y : f32[90,200]"}, /* groups of rows */
    {"%x: f32[37,100], %y: f32[100,70]", "%r = matmul %x, %y : f32[37,70]"},
    {"%x: f32[37,100], %y: f32[70,100]", "%r = matmul %x, %y tb=1 : f32[37,70]"},
    {"%x: f32[2,3,50,17], %y: f32[2,3,50,33]", "%r = matmul %x, %y ta=1 : f32[2,3,17,33]"},
    {"%x: f32[300,1], %y: f32[1,1]", "%r = matmul %x, %y : f32[300,1]"},
    {"%q: f32[2,37,3,24], %k: f32[2,101,3,24], %v: f32[2,101,3,40]",
     "%r, %s = attention %q, %k, %v scale=0.2 : f32[2,37,3,40], f32[2,37,3,1]"},
    {"%q: f32[2,18,3,24], %k: f32[2,21,3,24], %v: f32[2,21,3,40]", /* odd, and less than a block */
     "%r, %s = attention %q, %k, %v scale=0.2 : f32[2,18,3,40], f32[2,18,3,1]"},
    {"%q: f32[2,18,1,25], %k: f32[2,70,1,25], %v: f32[2,70,1,40]", /* channels that make no pairs */
     "%r, %s = attention %q, %k, %v scale=0.2 : f32[2,18,1,40], f32[2,18,1,1]"},
    {"%q: f32[2,1,1,24], %k: f32[2,1,1,24], %v: f32[2,1,1,40], %dy: f32[2,1,1,40], "
     "%positive: f32[2,1,1,1], %d: f32[2,1,1,1]", /* a single token */
     "%r, %s, %t = attention_grad %q, %k, %v, %dy, %positive, %d scale=0.2 penalty=10000 "
     ": f32[2,1,1,24], f32[2,1,1,24], f32[2,1,1,40]"},
    {"%q: f32[1,64,2,64], %k: f32[1,128,2,64], %v: f32[1,128,2,64], %g: i64[1,64], %h: i64[1,128]",
     "%r, %s = attention %q, %k, %v, %g, %h scale=0.125 : f32[1,64,2,64], f32[1,64,2,1]"},
    {"%q: f32[2,37,3,24], %k: f32[2,101,3,24], %v: f32[2,101,3,40], %dy: f32[2,37,3,40], "
     "%positive: f32[2,37,3,1], %d: f32[2,37,3,1], %g: i64[2,37], %h: i64[2,101]",
     "%r, %s, %t = attention_grad %q, %k, %v, %dy, %positive, %d, %g, %h scale=0.2 penalty=10000 "
     ": f32[2,37,3,24], f32[2,101,3,24], f32[2,101,3,40]"},
    {"%q: f32[4,37,8,20], %k: f32[4,70,8,20], %v: f32[4,70,8,16], %dy: f32[4,37,8,16], "
     "%positive: f32[4,37,8,1], %d: f32[4,37,8,1], %g: i64[4,37], %h: i64[4,70]",
     "%r, %s, %t = attention_grad %q, %k, %v, %dy, %positive, %d, %g, %h scale=0.2 penalty=10000 "
     ": f32[4,37,8,20], f32[4,70,8,20], f32[4,70,8,16]"},
    {"%x: f32[6,5,77], %w: f32[77], %b: f32[77]", "%r = layer_norm %x, %w, %b : f32[6,5,77]"},
    {"%x: f32[7,300]", "%r = softmax %x : f32[7,300]"},
    {"%x: f32[2,24,6,5,7], %w: f32[24], %b: f32[24], %m: f32[24], %positive: f32[24], %count: "
     "i64[]",
     "%r, %s, %t, %u = batch_norm_train %x, %w, %b, %m, %positive, %count : f32[2,24,6,5,7], "
     "f32[24], f32[24], i64[]"},
    {"%x: f32[40,3000]", "%r = reduce_sum %x axes=[0,1] : f32[1,1]"},
    {"%x: f32[40,6,50]", "%r = reduce_max %x axes=[1] : f32[40,1,50]"},
    {"%x: f32[64,33,20]", "%r = reduce_sum %x axes=[0,2] : f32[1,33,1]"},
    {"%x: f32[5000]", "%r = gelu %x : f32[5000]"},
    {"%x: f32[30,40,20]", "%r = permute %x perm=[2,0,1] : f32[20,30,40]"},
    {"%dy: f32[9,50], %ids: i64[9]", "%r = embedding_grad %dy, %ids rows=30 : f32[30,50]"},
    {"%images: f32[40,64], %texts: f32[40,64], %positive: f32[]",
     "%r = contrastive_loss %images, %texts, %positive : f32[]"},
};

static bool supported(const Graph *graph) {
  for (int n = 0; n < graph->nodes.count; n++)
    for (int i = 0; i < graph->nodes.at[n]->n_in + graph->nodes.at[n]->n_out; i++) {
      const Node *node = graph->nodes.at[n];
      Dtype t = i < node->n_in ? node->in[i]->type.dtype : node->out[i - node->n_in].type.dtype;
      if (t == DT_f64 || t == DT_f16 || t == DT_bf16) /* kernels compute in f32 */
        return false;
    }
  return true;
}

typedef struct Code {
  Way way;
  Build *build;
  Jit *jit;
  TextLibrary *text;
} Code;

#if TRICOT_LLVM
static KernelCode *find_jitted(const Code *code, const char *name) {
  return jit_find(code->jit, name);
}
static bool jit_kernels(Code *code, Error *error) {
  code->jit = jit_build(code->build->kernels.at, code->build->kernels.count, 1, error);
  return code->jit != NULL;
}
static void free_jitted(Code *code) { jit_free(code->jit); }
#else /* nobody asks for BY_JIT then */
static KernelCode *find_jitted(const Code *code, const char *name) {
  (void)code, (void)name;
  return NULL;
}
static bool jit_kernels(Code *code, Error *error) {
  (void)code;
  return error_set(error, "this build has no LLVM");
}
static void free_jitted(Code *code) { (void)code; }
#endif

static void run_step(const Code *code, const PlanStep *step, void **args) {
  Error error = {0};
  const Kernel *kernel = code->build->kernels.at[step->kernel];
  if (code->way == BY_EVAL) {
    if (!kernel_eval(kernel, args, 11, &error))
      fail_msg("kernel %s: %s", kernel->name, error.text);
    return;
  }
  KernelCode *run = code->way == BY_JIT ? find_jitted(code, kernel->name)
                                        : text_library_find(code->text, kernel->name);
  assert_non_null(run);
  run(args, 0, step->blocks / 2); /* in two parts, as a pool would */
  run(args, step->blocks / 2, step->blocks);
}

static void *place(PlanRef ref, char *arena, char *prepared, char **persistent) {
  return ref.place == PLACE_PERSISTENT ? persistent[ref.at]
                                       : (ref.place == PLACE_ARENA ? arena : prepared) + ref.at;
}

/* Runs the only entry of a build; outputs as doubles, in plan order. */
static double **run_entry(Arena *arena, const Code *code, const Graph *graph, double **inputs) {
  const PlanEntry *entry = &code->build->entries.at[0];
  char *memory = aligned_alloc(64, (size_t)entry->arena_bytes + 64);
  memset(memory, 0xFF, (size_t)entry->arena_bytes); /* NaNs: nothing may rely on what was there */
  char *prepared = aligned_alloc(64, ((size_t)entry->prepared_bytes + 127) / 64 * 64);
  for (int i = 0; i < entry->n_inputs; i++) {
    const PlanPort *port = &entry->inputs[i];
    char *at = place(port->ref, memory, prepared, NULL), *whole = at;
    if (port->gather)
      whole = arena_alloc(arena, type_bytes(&port->type));
    for (int64_t k = 0; k < type_elements(&port->type); k++)
      dtype_store(port->type.dtype, whole, k, inputs[i][k]);
    const Gather *g = port->gather;
    int64_t size = (int64_t)dtype_size(port->type.dtype);
    for (int64_t q = 0; g && q < port->type.dim[0]; q++)
      gather_sample(g, (size_t)size, whole + q * size * gather_sample_whole(g),
                    at + q * size * gather_sample_part(g));
  }
  (void)graph;
  for (int s = 0; s < entry->n_prepare + entry->n_steps; s++) {
    const PlanStep *step =
        s < entry->n_prepare ? &entry->prepare[s] : &entry->steps[s - entry->n_prepare];
    void *args[64];
    assert_true(step->n_args <= 64);
    for (int a = 0; a < step->n_args; a++)
      args[a] = place(step->args[a], memory, prepared, NULL);
    if (step->kind == STEP_KERNEL)
      run_step(code, step, args);
    else
      memcpy(args[1], args[0], (size_t)step->bytes);
  }
  double **outputs = ARENA_ARRAY(arena, double *, entry->n_outputs);
  for (int i = 0; i < entry->n_outputs; i++) {
    const void *at = place(entry->outputs[i].ref, memory, prepared, NULL);
    int64_t n = type_elements(&entry->outputs[i].type);
    outputs[i] = ARENA_ARRAY(arena, double, n);
    for (int64_t k = 0; k < n; k++)
      outputs[i][k] = dtype_load(entry->outputs[i].type.dtype, at, k);
  }
  free(memory);
  free(prepared);
  return outputs;
}

/* In mixed precision the kernels follow the graph with its roundings closely, but where a sum lies
 * so near a tie that another order of adding changes it; and that graph the one in f32 as far as
 * bf16 lets it. */
static const double close_f32 = 2e-5, close_mixed = 4e-3, close_bf16 = 3e-2;
/* Factors rounded to 11 bits, each by up to 2^-12 of it; sums of some hundred products. */
static const double close_tf32 = 1.5e-2;

/* Where pairs are multiplied attention rounds its weights too, each by up to 2^-8 of it, which that
 * graph does not. */
static const double close_weights = 1e-2;

static void check_difference(double *got, double *want, const Graph *graph, int i, double most,
                             const char *what) {
  double difference =
      relative_difference(got, want, type_elements(&graph->outputs.at[i].value->type));
  if (!(difference < most))
    fail_msg("result %d differs by %g: %s", i, difference, what);
}

static void check_sample(const struct Sample *sample, const Facts *facts, Way way, bool mixed) {
  Arena *arena = arena_new();
  Diag diag;
  diag_init(&diag, arena);
  Graph *graph = sample_graph(arena, sample);
  assert_non_null(graph);
  if (getenv("TRICOT_VERBOSE"))
    fprintf(stderr, "%s\n", sample->node);
  if (supported(graph)) {
    double **inputs = sample_inputs(arena, graph), **expected = run_graph(arena, graph, inputs);
    for (int i = 0; i < graph->inputs.count; i++) /* kernels see f32 inputs */
      for (int64_t k = 0; k < type_elements(&graph->inputs.at[i].value->type); k++)
        if (graph->inputs.at[i].value->type.dtype == DT_f32)
          inputs[i][k] = (float)inputs[i][k];
    expected = run_graph(arena, graph, inputs);
    Build build;
    BuildOptions options = {.facts = facts, .passes = {.dump_to = stderr}, .mixed = mixed};
    options.dump_tiles = options.dump_kernels = getenv("TRICOT_DUMP") != NULL;
    build_start(&build, arena, &diag, &options);
    if (!build_entry(&build, graph, "sample")) {
      diag_print(&diag, stdout);
      fail_msg("does not compile: %s", sample->node);
    }
    Code code = {.way = way, .build = &build};
    Error error = {0};
    if (way == BY_JIT && !jit_kernels(&code, &error))
      fail_msg("%s: %s", sample->node, error.text);
    if ((way == BY_C || way == BY_SHIM) &&
        !(code.text = text_library_build(way == BY_C ? TEXT_C : TEXT_CUDA, build.kernels.at,
                                         build.kernels.count, &error)))
      fail_msg("%s: %s", sample->node, error.text);
    double **got = run_entry(arena, &code, graph, inputs);
    double close = facts->tf32                                                ? close_tf32
                   : !mixed                                                   ? close_f32
                   : facts->bf16_pairs && strstr(sample->node, "= attention") ? close_weights
                                                                              : close_mixed;
    double **rounded = mixed ? run_graph(arena, build.graphs.at[0], inputs) : expected;
    for (int i = 0; i < graph->outputs.count; i++) {
      check_difference(got[i], rounded[i], graph, i, close, sample->node);
      if (dtype_is_float(graph->outputs.at[i].value->type.dtype)) /* ties are won by other taps */
        check_difference(rounded[i], expected[i], graph, i, close_bf16, sample->node);
    }
    if (code.jit)
      free_jitted(&code);
    if (code.text)
      text_library_free(code.text);
  }
  arena_free(arena);
}

/* The samples that are large enough to have contractions worth it. */
static void check_larger(const Facts *facts, Way way, bool mixed) {
  const char *only = getenv("TRICOT_SAMPLE");
  for (size_t i = 0; i < sizeof larger / sizeof larger[0]; i++)
    if (!only || strstr(larger[i].node, only))
      check_sample(&larger[i], facts, way, mixed);
}

static void check_all(const Facts *facts, Way way) {
  const char *only = getenv("TRICOT_SAMPLE");
  for (int i = 0; i < SAMPLES; i++)
    if (!only || strstr(samples[i].node, only))
      check_sample(&samples[i], facts, way, false);
  check_larger(facts, way, false);
}

static void check_mixed(const Facts *facts, Way way) { check_larger(facts, way, true); }

static void test_kernel_interpreter(void **state) {
  (void)state;
  check_all(&avx512, BY_EVAL);
  check_all(&avx2, BY_EVAL);
  check_all(&device_facts, BY_EVAL);
}

static void test_c(void **state) {
  (void)state;
  check_all(&avx512, BY_C);
}

static void test_shim(void **state) {
  (void)state;
  check_all(&device_facts, BY_SHIM);
}

#if TRICOT_LLVM
static void test_jit(void **state) {
  (void)state;
  CpuLevel level;
  Error error;
  assert_true(cpu_level_find("native", &level, &error));
  check_all(&level.facts, BY_JIT);
}
#endif

static void test_mixed(void **state) {
  (void)state;
  Facts pairs = avx512;
  pairs.bf16_pairs = true;
  check_mixed(&pairs, BY_EVAL);
  check_mixed(&avx2, BY_EVAL);
  check_mixed(&device_facts, BY_EVAL);
  check_mixed(&avx512, BY_C);
  check_mixed(&device_facts, BY_SHIM);
}

static void test_tf32(void **state) {
  (void)state;
  Facts rounding = device_facts;
  rounding.tf32 = true;
  check_larger(&rounding, BY_EVAL, false);
  check_larger(&rounding, BY_SHIM, false);
}

#if TRICOT_LLVM
static void test_mixed_jit(void **state) {
  (void)state;
  CpuLevel level;
  Error error;
  assert_true(cpu_level_find("native", &level, &error));
  Facts small = level.facts; /* bands, streams and chains */
  small.l1 = avx512.l1;
  small.l2 = avx512.l2;
  check_mixed(&level.facts, BY_JIT);
  check_mixed(&small, BY_JIT);
}
#endif

/* With a name, that test alone. */
int main(int argc, char **argv) {
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_kernel_interpreter),
#if TRICOT_LLVM
    cmocka_unit_test(test_jit),
#endif
    cmocka_unit_test(test_c),
    cmocka_unit_test(test_shim),
    cmocka_unit_test(test_mixed),
    cmocka_unit_test(test_tf32),
#if TRICOT_LLVM
    cmocka_unit_test(test_mixed_jit),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
