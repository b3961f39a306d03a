//! Matrices of known numbers, and their products.

/// Row by row.
pub struct Matrix {
    rows: usize,
    columns: usize,
    elements: Vec<f64>,
}

/// Products that take more multiplications than this are not worth the wait.
const MOST: usize = 1 << 30;

/// Whether a product of `elements` in the first factor and `columns` in the second is worth the wait.
pub fn is_quick(elements: usize, columns: usize) -> bool {
    elements.checked_mul(columns).is_some_and(|n| n <= MOST)
}

impl Matrix {
    /// `rows · columns` elements, row by row; `None` when there are another number.
    pub fn new(rows: usize, columns: usize, elements: Vec<f64>) -> Option<Matrix> {
        (rows.checked_mul(columns)? == elements.len()).then_some(Matrix { rows, columns, elements })
    }

    /// The same with rows for columns.
    pub fn transposed(&self) -> Matrix {
        let (rows, columns) = (self.columns, self.rows);
        let elements = (0..rows * columns).map(|i| self.elements[i % columns * rows + i / columns]).collect();
        Matrix { rows, columns, elements }
    }

    /// `self · other`; `None` when the sizes do not fit or the product would take too long.
    pub fn times(&self, other: &Matrix) -> Option<Matrix> {
        if self.columns != other.rows || !is_quick(self.elements.len(), other.columns) {
            return None;
        }
        let mut elements = vec![0.0; self.rows.checked_mul(other.columns)?];
        if self.columns > 0 && other.columns > 0 {
            for (out, row) in elements.chunks_exact_mut(other.columns).zip(self.elements.chunks_exact(self.columns)) {
                for (x, others) in row.iter().zip(other.elements.chunks_exact(other.columns)) {
                    out.iter_mut().zip(others).for_each(|(sum, y)| *sum += x * y);
                }
            }
        }
        Some(Matrix { rows: self.rows, columns: other.columns, elements })
    }

    /// The elements, row by row.
    pub fn into_elements(self) -> Vec<f64> {
        self.elements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize, elements: &[i32]) -> Matrix {
        Matrix::new(rows, columns, elements.iter().map(|&e| e.into()).collect()).unwrap()
    }

    #[test]
    fn rows_meet_columns() {
        let (a, b) = (matrix(2, 3, &[1, 2, 3, 4, 5, 6]), matrix(3, 1, &[1, 0, -1]));
        assert_eq!(a.times(&b).unwrap().into_elements(), [-2.0, -2.0]);
        assert_eq!(b.transposed().times(&a.transposed()).unwrap().into_elements(), [-2.0, -2.0]);
        assert!(b.times(&a).is_none() && Matrix::new(2, 2, vec![0.0; 3]).is_none());
        assert_eq!(matrix(2, 0, &[]).times(&matrix(0, 2, &[])).unwrap().into_elements(), [0.0; 4]);
    }

    #[test]
    fn long_products_are_left() {
        let wide = || Matrix::new(1 << 16, 1, vec![0.0; 1 << 16]).unwrap();
        assert!(wide().times(&wide().transposed()).is_none());
    }
}
