//! Where the batches of a boot are, sparsely: memory does not grow with the boot.

use super::frame::Place;
use crate::limits;

/// A frame whose batch number is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) batch: u64,
    pub(super) segment: u32,
    pub(super) offset: u64,
}

/// Points at least a stride apart, the first batch always among them.
#[derive(Debug)]
pub(super) struct Index {
    points: Vec<Point>,
    stride: u64,
    since: u64,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { points: Vec::new(), stride: limits::INDEX_STRIDE, since: 0 }
    }

    /// Notes that this batch is in this frame.
    pub(super) fn note(&mut self, batch: u64, place: Place) {
        if self.points.is_empty() || self.since >= self.stride {
            self.points.push(Point { batch, segment: place.segment, offset: place.offset });
            self.since = 0;
        }
        self.since += place.length;
        if self.points.len() >= limits::INDEX_POINTS {
            self.thin();
        }
    }

    /// The last known frame at or before this batch.
    pub(super) fn before(&self, batch: u64) -> Option<Point> {
        let after = self.points.partition_point(|point| point.batch <= batch);
        self.points.get(after.checked_sub(1)?).copied()
    }

    /// Keeps every other point.
    fn thin(&mut self) {
        let mut keep = false;
        self.points.retain(|_| {
            keep = !keep;
            keep
        });
        self.stride *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_small_and_finds() {
        let mut index = Index::new();
        let batches = 3 * limits::INDEX_POINTS as u64;
        for batch in 0..batches {
            let place = Place { segment: 0, offset: batch * limits::INDEX_STRIDE, length: limits::INDEX_STRIDE };
            index.note(batch, place);
            assert!(index.points.len() <= limits::INDEX_POINTS);
        }
        for batch in 0..batches {
            let point = index.before(batch).unwrap();
            assert!(point.batch <= batch && batch - point.batch <= 8);
            assert_eq!(point.offset, point.batch * limits::INDEX_STRIDE);
        }
        assert_eq!(Index::new().before(7), None);
    }
}
