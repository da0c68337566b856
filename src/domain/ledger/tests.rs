//! Where rows stand.
