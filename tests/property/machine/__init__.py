"""The parts of the state machine of syncs: the project, its faults, the requests, the laws."""
