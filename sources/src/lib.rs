//! What Holdfast protects: one module per service kind.
