/* embedding
 * gather:4 */
TRICOT_KERNEL(64, 6) rows(const f32 *__restrict__ table,
    const i32 *__restrict__ ids,
    f32 *__restrict__ y) {
  const int i = TRICOT_BLOCK;
  const int thread = TRICOT_THREAD;
  TRICOT_SHARED(i32, n, 0); /* 16 */
  if (thread < 16) {
    const int e = thread % 16;
    tricot_copy4(n + e, ids + (16*i + e), 16*i + e < 40);
  }
  TRICOT_COMMIT();
  TRICOT_WAIT(0);
  const int e1 = thread / 8;
  const int e2 = thread % 8;
  TRICOT_SYNC();
  #pragma unroll 2
  for (int row = 0; row < 2; row++) {
    const i32 v0 = n[e1 + 8*row];
    f32x4 v1;
    #pragma unroll
    for (int lane = 0; lane < 4; lane++) {
      v1.at[lane] = lane < 30 - 4*e2 ? table[4*e2 + 30*(i32)v0 + lane] : 0;
    }
    #pragma unroll
    for (int lane = 0; lane < 4; lane++) {
      if (16*i + e1 + 8*row < 40 && lane < 30 - 4*e2)
        y[480*i + 30*e1 + 4*e2 + 240*row + lane] = v1.at[lane];
    }
  }
}
