"""What benches share: inputs that are made, loads, engines beside ours, processes that are measured apart."""
