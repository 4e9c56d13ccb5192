"""What tests share and is no fixture: servers, tables of every key shape, models, processes."""
