//! Principal components: the plane in which vectors lie furthest apart.
//!
//! ```text
//! C = 1/n sum_i (x_i - m)(x_i - m)^T,  m = 1/n sum_i x_i        covariance, never written out
//! V <- Gram-Schmidt( C V )                                      orthogonal iteration, V [d, k]
//! y_i = V^T (x_i - m)                                           place of x_i
//! ```
//!
//! The columns of V go to the eigenvectors of the k greatest eigenvalues, in their order. What column j explains is
//! v_j^T C v_j / trace C. A column's sign is such that its element of greatest magnitude is positive.

/// Axes that are drawn.
pub(crate) const AXES: usize = 2;
/// Columns that are iterated: those behind the drawn ones make these settle sooner.
const COLUMNS: usize = 4;
/// Rounds at most; a picture needs no more.
const ROUNDS: usize = 200;
/// The change of an eigenvalue, as a share of the greatest, below which the iteration is done; an eigenvector is off by
/// about its root.
const SETTLED: f64 = 1e-12;

/// Vectors seen from where they lie furthest apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Projection {
    /// Place of each vector on the axes.
    pub(crate) points: Vec<(f64, f64)>,
    /// Share of the variance that each axis has.
    pub(crate) explained: [f64; AXES],
}

/// Projects finite vectors, `[n, width]` end to end; none if all are the same, or there is none.
pub(crate) fn project(vectors: &[f32], width: usize) -> Option<Projection> {
    let centred = centred(vectors, width)?;
    let rows = (centred.len() / width) as f64;
    let trace = centred.iter().map(|x| x * x).sum::<f64>() / rows;
    // What rounding leaves of equal vectors is no direction.
    let scale = vectors.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / rows;
    if trace.is_nan() || trace <= scale * 1e-12 {
        return None;
    }
    let (axes, values) = components(&centred, width);
    let place = |row: &[f64], axis: usize| axes.get(axis).map_or(0.0, |axis| dot(row, axis));
    let points = centred.chunks_exact(width).map(|row| (place(row, 0), place(row, 1))).collect();
    let share = |axis: usize| values.get(axis).map_or(0.0, |value| (value / trace).clamp(0.0, 1.0));
    Some(Projection { points, explained: [share(0), share(1)] })
}

/// The vectors without their mean.
fn centred(vectors: &[f32], width: usize) -> Option<Vec<f64>> {
    let rows = vectors.len().checked_div(width)?;
    let mut mean = vec![0.0; width];
    for row in vectors.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / rows as f64);
    }
    Some(vectors.chunks_exact(width).flat_map(|row| row.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m)).collect())
}

/// The leading eigenvectors and eigenvalues of the covariance of centred rows.
fn components(centred: &[f64], width: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
    // Any start that no data is orthogonal to but by chance: cosines of frequencies that have nothing to do with one another.
    let start = |column: usize| (0..width).map(move |at| ((at as f64 + 0.5) * (column as f64 + 1.0).sqrt()).cos());
    let mut axes: Vec<Vec<f64>> = (0..COLUMNS.min(width)).map(|column| start(column).collect()).collect();
    orthonormalise(&mut axes);
    let mut values = vec![0.0; axes.len()];
    for _ in 0..ROUNDS {
        let images = covariance_times(centred, width, &axes);
        let now: Vec<f64> = axes.iter().zip(&images).map(|(axis, image)| dot(axis, image)).collect();
        let greatest = now.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let is_settled = now.iter().zip(&values).take(AXES).all(|(a, b)| (a - b).abs() < SETTLED * greatest);
        values = now;
        if is_settled {
            break;
        }
        axes = images;
        orthonormalise(&mut axes);
    }
    axes.iter_mut().for_each(|axis| fix_sign(axis));
    (axes, values)
}

/// C v for each axis v.
fn covariance_times(centred: &[f64], width: usize, axes: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let rows = (centred.len() / width) as f64;
    let mut images = vec![vec![0.0; width]; axes.len()];
    for row in centred.chunks_exact(width) {
        for (axis, image) in axes.iter().zip(&mut images) {
            let along = dot(row, axis) / rows;
            image.iter_mut().zip(row).for_each(|(sum, x)| *sum += along * x);
        }
    }
    images
}

/// Gram-Schmidt, each column twice, as once leaves what rounding made. A column that the others span becomes zero.
fn orthonormalise(axes: &mut [Vec<f64>]) {
    for at in 0..axes.len() {
        let (before, rest) = axes.split_at_mut(at);
        let Some(axis) = rest.first_mut() else { return };
        let long = norm(axis);
        for other in before.iter().chain(before.iter()) {
            let along = dot(axis, other);
            axis.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
        let left = norm(axis);
        let scale = if left > long * 1e-12 { 1.0 / left } else { 0.0 };
        axis.iter_mut().for_each(|x| *x *= scale);
    }
}

fn fix_sign(axis: &mut [f64]) {
    let greatest = axis.iter().copied().fold(0.0, |most: f64, x| if x.abs() > most.abs() { x } else { most });
    if greatest < 0.0 {
        axis.iter_mut().for_each(|x| *x = -*x);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `numpy.linalg.svd`: U S, and S^2 over its sum.
    #[test]
    fn points_are_those_of_a_singular_value_decomposition() {
        let vectors = [
            [2.0, 0.0, 1.0, 3.0],
            [1.0, 1.0, -1.0, 0.0],
            [0.0, 4.0, 2.0, -2.0],
            [3.0, -1.0, 0.0, 5.0],
            [-2.0, 2.0, 6.0, 1.0],
            [1.0, 0.0, 0.0, -3.0],
        ];
        let expected = [
            (2.670282724, 0.844795763),
            (0.541596627, -2.176945638),
            (-3.730878694, -0.752528168),
            (5.304344526, 1.032678298),
            (-3.269069530, 4.431193194),
            (-1.516275653, -3.379193450),
        ];
        let found = project(&vectors.concat(), 4).unwrap();
        for (found, expected) in found.points.iter().zip(expected) {
            let off = (found.0 - expected.0).abs().max((found.1 - expected.1).abs());
            assert!(off < 1e-5, "{found:?}, expected {expected:?}");
        }
        for (found, expected) in found.explained.iter().zip([0.5810713567742904, 0.3547899236813615]) {
            assert!((found - expected).abs() < 1e-8, "{found}, expected {expected}");
        }
    }

    #[test]
    fn a_line_is_explained_by_one_axis() {
        let vectors: Vec<f32> = (0..5).flat_map(|at| [3.0 * at as f32, 4.0 * at as f32, 7.0]).collect();
        let line = project(&vectors, 3).unwrap();
        assert!((line.explained[0] - 1.0).abs() < 1e-12 && line.explained[1].abs() < 1e-12, "{line:?}");
        let x: Vec<f64> = line.points.iter().map(|point| point.0).collect();
        for (found, expected) in x.iter().zip([-10.0, -5.0, 0.0, 5.0, 10.0]) {
            assert!((found - expected).abs() < 1e-9, "{x:?}");
        }
        // The start leans to the other side of this one.
        let up = project(&[0.0, 0.0, 1.0, 0.0, 0.0, 3.0], 3).unwrap();
        assert!((up.points[0].0 + 1.0).abs() < 1e-9 && (up.points[1].0 - 1.0).abs() < 1e-9, "{up:?}");
    }

    #[test]
    fn what_has_no_extent_has_no_projection() {
        assert_eq!(project(&[], 3), None);
        assert_eq!(project(&[], 0), None);
        assert_eq!(project(&[0.1, 0.7, 0.1, 0.7, 0.1, 0.7], 2), None);
        let narrow = project(&[1.0, 2.0, 4.0], 1).unwrap();
        assert_eq!(narrow.explained[1], 0.0);
        assert!((narrow.explained[0] - 1.0).abs() < 1e-12 && narrow.points.iter().all(|point| point.1 == 0.0));
    }
}
