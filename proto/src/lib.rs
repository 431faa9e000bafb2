//! The contract between agents, the coordinator and operators (gRPC package holdfast.v1).
