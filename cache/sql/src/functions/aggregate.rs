//! Functions of many vectors: `vec_mean`, their mean, and `vec_spread`, the mean of their squared distances to it.
//!
//! Both take one pass in constant memory. A partition keeps the count, the mean and the sum of squared distances to it
//! (Welford, 1962), and two partitions are put together without their rows (Chan, Golub and LeVeque, 1979); all in
//! double precision, so that a mean far from zero costs no digits of the spread.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, not_impl_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility};
use pulp::{Arch, NullaryFnOnce};

use super::as_stored::wrapped;
use super::vectors::{Vectors, coerced, widths_differ};

/// All of them, to be registered.
pub(super) fn all() -> impl Iterator<Item = AggregateUDF> {
    [Kind::Mean, Kind::Spread].into_iter().map(|kind| {
        let signature = Signature::user_defined(Volatility::Immutable);
        AggregateUDF::from(VectorAggregate { kind, of_stored: None, signature })
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Mean,
    Spread,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Mean => "vec_mean",
            Self::Spread => "vec_spread",
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct VectorAggregate {
    kind: Kind,
    /// The type of what is given as stored.
    of_stored: Option<DataType>,
    signature: Signature,
}

impl AggregateUDFImpl for VectorAggregate {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (self.kind, arguments) {
            (Kind::Spread, _) => Ok(DataType::Float64),
            (Kind::Mean, [vector]) => Ok(self.of_stored.as_ref().unwrap_or(vector).clone()),
            (Kind::Mean, _) => exec_err!("vec_mean takes 1 vector"),
        }
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        match found {
            [found] => Ok(vec![coerced(self.name(), found)?]),
            _ => plan_err!("{} takes 1 vector, it is given {} arguments", self.name(), found.len()),
        }
    }

    /// A column is taken as stored.
    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        let kind = self.kind;
        Some(Box::new(move |mut call, of| {
            // Distinct rows are those of the vectors, whatever their stores.
            if !call.params.distinct
                && let [argument] = call.params.args.as_slice()
                && let Some(stored) = wrapped(&call.params.args, of)?
            {
                let of_stored = Some(of.get_data_type(argument)?);
                let signature = Signature::user_defined(Volatility::Immutable);
                call.func = Arc::new(Self { kind, of_stored, signature }.into());
                call.params.args = stored;
            }
            Ok(Expr::AggregateFunction(call))
        }))
    }

    fn state_fields(&self, of: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |what: &str, data_type| Arc::new(Field::new(format!("{}[{what}]", of.name), data_type, true));
        let mean = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        Ok(vec![field("count", DataType::UInt64), field("mean", mean), field("squares", DataType::Float64)])
    }

    fn accumulator(&self, of: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if of.is_distinct {
            return not_impl_err!("{} has no DISTINCT: select distinct rows before it", self.name());
        }
        let returns = of.return_field.data_type().clone();
        Ok(Box::new(VectorAccumulator { kind: self.kind, returns, moments: Moments::default() }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Count, mean and sum of squared distances to the mean of the vectors seen so far.
#[derive(Debug, Default, Clone, PartialEq)]
struct Moments {
    count: u64,
    mean: Vec<f64>,
    squares: f64,
}

impl Moments {
    /// Takes a vector in.
    fn add(&mut self, vector: &[f32]) {
        if self.count == 0 {
            self.mean = vec![0.0; vector.len()];
        }
        self.count += 1;
        let step = Step { mean: &mut self.mean, vector, share: 1.0 / self.count as f64 };
        self.squares += Arch::new().dispatch(step);
    }

    /// Takes a vector out that was taken in: the steps of [`Moments::add`] the other way round.
    fn remove(&mut self, vector: &[f32]) {
        if self.count <= 1 {
            *self = Self::default();
            return;
        }
        let left = (self.count - 1) as f64;
        for (mean, x) in self.mean.iter_mut().zip(vector) {
            let (x, with) = (f64::from(*x), *mean);
            *mean = with + (with - x) / left;
            self.squares -= (x - with) * (x - *mean);
        }
        // What rounding leaves of nothing may be less than it.
        self.squares = self.squares.max(0.0);
        self.count -= 1;
    }

    /// Takes the vectors in that others were.
    fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let share = theirs / (mine + theirs);
        let mut between = 0.0;
        for (mean, other) in self.mean.iter_mut().zip(&other.mean) {
            let apart = other - *mean;
            between += apart * apart;
            *mean += apart * share;
        }
        self.count += other.count;
        self.squares += other.squares + between * mine * share;
    }

    /// The mean of the squared distances to the mean: the trace of the (population) covariance.
    fn spread(&self) -> Option<f64> {
        (self.count > 0).then(|| self.squares / self.count as f64)
    }
}

/// Brings a mean this share nearer to a vector.
struct Step<'a> {
    mean: &'a mut [f64],
    vector: &'a [f32],
    share: f64,
}

impl NullaryFnOnce for Step<'_> {
    /// By how much the sum of squared distances grows.
    type Output = f64;

    /// In lanes that are summed up at last, which the compiler keeps in vector registers.
    #[inline(always)]
    fn call(self) -> f64 {
        const LANES: usize = 16;
        let mut squares = [0.0; LANES];
        let ((means, mean), (vectors, vector)) = (self.mean.as_chunks_mut::<LANES>(), self.vector.as_chunks::<LANES>());
        for (mean, vector) in means.iter_mut().zip(vectors) {
            // Copies: that the references lie apart the compiler does not know, and would take one element at a time.
            let (mut moved, vector) = (*mean, *vector);
            for lane in 0..LANES {
                squares[lane] += step(&mut moved[lane], vector[lane], self.share);
            }
            *mean = moved;
        }
        let rest: f64 = mean.iter_mut().zip(vector).map(|(mean, x)| step(mean, *x, self.share)).sum();
        squares.iter().sum::<f64>() + rest
    }
}

/// As [`Step`], of one element.
#[inline(always)]
fn step(mean: &mut f64, x: f32, share: f64) -> f64 {
    let before = f64::from(x) - *mean;
    *mean += before * share;
    before * (f64::from(x) - *mean)
}

#[derive(Debug)]
struct VectorAccumulator {
    kind: Kind,
    returns: DataType,
    moments: Moments,
}

impl VectorAccumulator {
    fn fits(&self, width: usize) -> Result<()> {
        if self.moments.count > 0 && self.moments.mean.len() != width {
            return exec_err!("{}", widths_differ(self.kind.name(), self.moments.mean.len(), width));
        }
        Ok(())
    }

    /// Does something with each vector of a column.
    fn each(&mut self, values: &[ArrayRef], step: impl Fn(&mut Moments, &[f32])) -> Result<()> {
        let Some(column) = values.first() else { return exec_err!("{} is given no vector", self.kind.name()) };
        let vectors = Vectors::of_column(column)?;
        let mut decoded = Vec::new();
        for row in 0..column.len() {
            if let Some(vector) = vectors.row(row, &mut decoded) {
                self.fits(vector.len())?;
                step(&mut self.moments, vector);
            }
        }
        Ok(())
    }

    fn mean(&self) -> Result<ScalarValue> {
        if self.moments.count == 0 {
            return ScalarValue::try_from(&self.returns);
        }
        let floats = self.moments.mean.iter().map(|x| Some(*x as f32)).collect::<Float32Array>();
        match &self.returns {
            DataType::FixedSizeList(item, width) => {
                let mean = FixedSizeListArray::try_new(item.clone(), *width, Arc::new(floats), None)?;
                Ok(ScalarValue::FixedSizeList(Arc::new(mean)))
            }
            _ => {
                let floats = floats.iter().map(ScalarValue::Float32).collect::<Vec<_>>();
                Ok(ScalarValue::List(ScalarValue::new_list_nullable(&floats, &DataType::Float32)))
            }
        }
    }
}

impl Accumulator for VectorAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.each(values, Moments::add)
    }

    /// For windows that move on: rows leave them.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.each(values, Moments::remove)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.kind {
            Kind::Mean => self.mean(),
            Kind::Spread => Ok(ScalarValue::Float64(self.moments.spread())),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.moments.mean.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mean: Vec<ScalarValue> = self.moments.mean.iter().map(|x| ScalarValue::Float64(Some(*x))).collect();
        let mean = ScalarValue::List(ScalarValue::new_list_nullable(&mean, &DataType::Float64));
        Ok(vec![ScalarValue::UInt64(Some(self.moments.count)), mean, ScalarValue::Float64(Some(self.moments.squares))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let broken = || exec_datafusion_err!("the state of {} is of another type", self.kind.name());
        let [counts, means, squares] = states else { return Err(broken()) };
        let counts: &UInt64Array = counts.as_primitive_opt::<UInt64Type>().ok_or_else(broken)?;
        let means = means.as_list_opt::<i32>().ok_or_else(broken)?;
        let squares = squares.as_primitive_opt::<Float64Type>().ok_or_else(broken)?;
        for row in (0..counts.len()).filter(|row| counts.is_valid(*row) && counts.value(*row) > 0) {
            let mean = means.value(row);
            let mean = mean.as_primitive_opt::<Float64Type>().ok_or_else(broken)?.values().to_vec();
            self.fits(mean.len())?;
            self.moments.merge(Moments { count: counts.value(row), mean, squares: squares.value(row) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(rows: &[[f32; 2]]) -> Moments {
        let mut moments = Moments::default();
        rows.iter().for_each(|row| moments.add(row));
        moments
    }

    #[test]
    fn spread_is_the_trace_of_the_covariance() {
        // Means 2 and 20; squared distances 1, 0, 1 and 100, 0, 100.
        let all = moments(&[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]);
        assert_eq!((all.mean.as_slice(), all.spread()), ([2.0, 20.0].as_slice(), Some(202.0 / 3.0)));
        assert_eq!(moments(&[[5.0, 7.0]]).spread(), Some(0.0));
        assert_eq!(moments(&[]).spread(), None);
    }

    #[test]
    fn parts_add_up_however_they_are_cut() {
        let rows: Vec<[f32; 2]> = (0_u16..97).map(|i| [f32::from(i * 37 % 101), 0.25 * f32::from(i)]).collect();
        let whole = moments(&rows);
        for cut in [0, 1, 50, 96, 97] {
            let mut merged = moments(&rows[..cut]);
            merged.merge(moments(&rows[cut..]));
            assert_eq!(merged.count, 97);
            assert!((merged.squares / whole.squares - 1.0).abs() < 1e-12, "{cut}: {merged:?}");
            assert!(merged.mean.iter().zip(&whole.mean).all(|(a, b)| (a - b).abs() < 1e-12), "{cut}: {merged:?}");
        }
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_behind() {
        let rows: Vec<[f32; 2]> = (0_u16..50).map(|i| [f32::from(i * 37 % 101), 0.25 * f32::from(i)]).collect();
        let mut window = moments(&rows[..10]);
        for (old, new) in rows.iter().zip(&rows[10..]) {
            window.add(new);
            window.remove(old);
        }
        let (fresh, close) = (moments(&rows[40..]), |a: f64, b: f64| (a - b).abs() < 1e-9);
        assert_eq!(window.count, 10);
        assert!(close(window.squares, fresh.squares), "{window:?} {fresh:?}");
        assert!(window.mean.iter().zip(&fresh.mean).all(|(a, b)| close(*a, *b)), "{window:?} {fresh:?}");
        rows[40..].iter().for_each(|row| window.remove(row));
        assert_eq!(window, Moments::default());
    }

    #[test]
    fn a_far_mean_costs_no_digits() {
        // The sum of squares minus the square of the sum would give 0 or less in single precision.
        let far = moments(&[[1e6, 1e6], [1e6 + 1.0, 1e6], [1e6 + 2.0, 1e6]]);
        assert!((far.spread().unwrap_or_default() - 2.0 / 3.0).abs() < 1e-9, "{far:?}");
    }
}
