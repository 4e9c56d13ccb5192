"""What prevents or limits the work on a database: findings for `crdbvec doctor`. Nothing is changed."""
