//! The smallest, middle and largest of some values.

/// Of at least one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread<T> {
    /// The smallest.
    pub min: T,
    /// The middle one; of an even number of values the upper one of the two in the middle.
    pub median: T,
    /// The largest.
    pub max: T,
}

impl<T: Copy + Ord> Spread<T> {
    /// `None` for no values at all.
    pub fn of(values: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut values: Vec<T> = values.into_iter().collect();
        values.sort();
        Some(Self { min: *values.first()?, median: values[values.len() / 2], max: *values.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_values_does_not_matter() {
        assert_eq!(Spread::of([3, 1, 2]), Some(Spread { min: 1, median: 2, max: 3 }));
        assert_eq!(Spread::of([2, 1]), Some(Spread { min: 1, median: 2, max: 2 }));
        assert_eq!(Spread::<u8>::of([]), None);
    }
}
