//! Positions of a grid that tell its places apart before anything is learnt: `student.positions = "waves"`.

use retort_nn::Weights;
use tch::Tensor;

use crate::Result;

/// Begins the positions of a grid of `places`, those of the student whose tensors are below `model`, as waves.
///
/// # Errors
/// If libtorch refuses.
pub(super) fn begin(weights: &Weights, model: &str, places: i64, width: i64) -> Result<()> {
    let values = sin_cos_grid(places.max(0) as usize, width.max(0) as usize);
    let positions = Tensor::f_from_slice(&values)?.f_reshape([1, places.max(0) + 1, width.max(0)])?;
    Ok(weights.replace(&format!("{model}.embeddings.position_embeddings"), &positions)?)
}

/// Positions `[1 + places, width]` of a whole-image token, which are zero, and of a square grid, row by row. Place (y, x) has,
/// with q = width / 4 frequencies f_k = 10000^(-k / q),
///
/// P(y, x) = [ sin(x f), cos(x f), sin(y f), cos(y f) ],
///
/// zero beyond 4 q (Beyer, Zhai and Kolesnikov 2022, "Better plain ViT baselines for ImageNet-1k").
pub fn sin_cos_grid(places: usize, width: usize) -> Vec<f32> {
    let side = places.isqrt().max(1);
    let quarter = width / 4;
    let mut values = vec![0.0; (places + 1) * width];
    for place in 0..places {
        let row = &mut values[(place + 1) * width..(place + 2) * width];
        let (y, x) = ((place / side) as f64, (place % side) as f64);
        for k in 0..quarter {
            let frequency = 10_000.0_f64.powf(-(k as f64) / quarter as f64);
            let waves = [(x * frequency).sin(), (x * frequency).cos(), (y * frequency).sin(), (y * frequency).cos()];
            for (part, wave) in waves.into_iter().enumerate() {
                row[part * quarter + k] = wave as f32;
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_a_grid_are_waves_along_both_sides() {
        // Two frequencies, 1 and 1/100; a grid of 2 x 2 behind the whole image, and width 9 leaves one over.
        let waves = sin_cos_grid(4, 9);
        assert_eq!(waves[..9], [0.0; 9], "the whole image has no place");
        let (one, hundredth) = (1.0_f64, 0.01_f64);
        let place_y0_x1 = [one.sin(), hundredth.sin(), one.cos(), hundredth.cos(), 0.0, 0.0, 1.0, 1.0, 0.0];
        let place_y1_x0 = [0.0, 0.0, 1.0, 1.0, one.sin(), hundredth.sin(), one.cos(), hundredth.cos(), 0.0];
        assert_eq!(waves[18..27], place_y0_x1.map(|x| x as f32));
        assert_eq!(waves[27..36], place_y1_x0.map(|x| x as f32));
    }
}
