/* tap_max
 * pool:4 */
TRICOT_CONSTANT int pool_down[9] = {
    0, 0, 0, 1, 1, 1, 2, 2, 2
};
TRICOT_CONSTANT int pool_across[9] = {
    0, 1, 2, 0, 1, 2, 0, 1, 2
};
TRICOT_KERNEL(64, 6) pool(const bf16 *__restrict__ x,
    bf16 *__restrict__ y) {
  const int r = TRICOT_BLOCK;
  const int thread = TRICOT_THREAD;
  f32 most[32];
  const int e = thread / 4;
  const int e1 = thread % 4;
  #pragma unroll 4
  for (int row = 0; row < 4; row++) {
    const int e2 = (e + 16*row) % 8;
    const int e3 = (e + 16*row) / 8;
    f32x8 v0;
    #pragma unroll
    for (int lane = 0; lane < 8; lane++) {
      v0.at[lane] = -TRICOT_INFINITY;
    }
    #pragma unroll
    for (int lane = 0; lane < 8; lane++) {
      most[8*row + lane] = v0.at[lane];
    }
  }
  /* pool:10 */
  for (int k = 0; k < 9; k++) {
    /* pool:11 */
    const int i = pool_down[k];
    /* pool:12 */
    const int j = pool_across[k];
    const int e4 = thread / 4;
    const int e5 = thread % 4;
    #pragma unroll 4
    for (int row1 = 0; row1 < 4; row1++) {
      const int e6 = (e4 + 16*row1) % 8;
      const int e7 = (e4 + 16*row1) / 8;
      bf16x8 v1;
      if (j + 2*e6 - 1 >= 0)
        v1 = *(const bf16x8 *)(x + (512*i + 32*j + 8*e5 + 64*e6 + 1024*e7 - 32));
      else
        for (int lane = 0; lane < 8; lane++)
          v1.at[lane] = 0xff80;
      f32x8 v2;
      #pragma unroll
      for (int lane = 0; lane < 8; lane++) {
        v2.at[lane] = tricot_widen(v1.at[lane]);
      }
      f32x8 v3;
      #pragma unroll
      for (int lane = 0; lane < 8; lane++) {
        v3.at[lane] = most[8*row1 + lane];
      }
      f32x8 v4;
      #pragma unroll
      for (int lane = 0; lane < 8; lane++) {
        v4.at[lane] = (v3.at[lane] > v2.at[lane] ? v3.at[lane] : v2.at[lane]);
      }
      #pragma unroll
      for (int lane = 0; lane < 8; lane++) {
        most[8*row1 + lane] = v4.at[lane];
      }
    }
  }
  const int e8 = thread / 4;
  const int e9 = thread % 4;
  #pragma unroll 4
  for (int row2 = 0; row2 < 4; row2++) {
    const int e10 = (e8 + 16*row2) % 8;
    const int e11 = (e8 + 16*row2) / 8;
    f32x8 v5;
    #pragma unroll
    for (int lane = 0; lane < 8; lane++) {
      v5.at[lane] = most[8*row2 + lane];
    }
    bf16x8 v6;
    #pragma unroll
    for (int lane = 0; lane < 8; lane++) {
      v6.at[lane] = tricot_narrow(v5.at[lane]);
    }
    *(bf16x8 *)(y + (8*e9 + 32*e10 + 256*e11)) = v6;
  }
}
