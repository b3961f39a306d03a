//! The fields of every message: what reading does not drop. Generated from proto/onnx.proto by a test.

/// A message: its name, and its fields by number, with the place in the list of a field's own message.
pub(super) type Message = (&'static str, &'static [(u32, Option<usize>)]);

/// The place of `ModelProto`.
pub(super) const MODEL: usize = 6;

/// Every message, by name.
pub(super) static MESSAGES: [Message; 31] = [
    ("AttributeProto", &[(1, None), (2, None), (3, None), (4, None), (5, Some(18)), (6, Some(3)), (7, None), (8, None), (9, None), (10, Some(18)), (11, Some(3)), (13, None), (14, Some(23)), (15, Some(23)), (20, None), (21, None), (22, Some(15)), (23, Some(15))]),
    ("DeviceConfigurationProto", &[(1, None), (2, None), (3, None)]),
    ("FunctionProto", &[(1, None), (4, None), (5, None), (6, None), (7, Some(8)), (8, None), (9, Some(9)), (10, None), (11, Some(0)), (12, Some(30)), (13, None), (14, Some(16))]),
    ("GraphProto", &[(1, Some(8)), (2, None), (5, Some(18)), (10, None), (11, Some(30)), (12, Some(30)), (13, Some(30)), (14, Some(17)), (15, Some(15)), (16, Some(16))]),
    ("IntIntListEntryProto", &[(1, None), (2, None)]),
    ("MapProto", &[(1, None), (2, None), (3, None), (4, None), (5, Some(11))]),
    ("ModelProto", &[(1, None), (2, None), (3, None), (4, None), (5, None), (6, None), (7, Some(3)), (8, Some(9)), (14, Some(16)), (20, Some(22)), (25, Some(2)), (26, Some(1))]),
    ("NodeDeviceConfigurationProto", &[(1, None), (2, Some(13)), (3, None)]),
    ("NodeProto", &[(1, None), (2, None), (3, None), (4, None), (5, Some(0)), (6, None), (7, None), (8, None), (9, Some(16)), (10, Some(7))]),
    ("OperatorSetIdProto", &[(1, None), (2, None)]),
    ("OptionalProto", &[(1, None), (2, None), (3, Some(18)), (4, Some(15)), (5, Some(11)), (6, Some(5)), (7, Some(10))]),
    ("SequenceProto", &[(1, None), (2, None), (3, Some(18)), (4, Some(15)), (5, Some(11)), (6, Some(5)), (7, Some(10))]),
    ("ShardedDimProto", &[(1, None), (2, Some(14))]),
    ("ShardingSpecProto", &[(1, None), (2, None), (3, Some(4)), (4, Some(12))]),
    ("SimpleShardedDimProto", &[(1, None), (2, None), (3, None)]),
    ("SparseTensorProto", &[(1, Some(18)), (2, Some(18)), (3, None)]),
    ("StringStringEntryProto", &[(1, None), (2, None)]),
    ("TensorAnnotation", &[(1, None), (2, Some(16))]),
    ("TensorProto", &[(1, None), (2, None), (3, Some(19)), (4, None), (5, None), (6, None), (7, None), (8, None), (9, None), (10, None), (11, None), (12, None), (13, Some(16)), (14, None), (16, Some(16))]),
    ("TensorProto.Segment", &[(1, None), (2, None)]),
    ("TensorShapeProto", &[(1, Some(21))]),
    ("TensorShapeProto.Dimension", &[(1, None), (2, None), (3, None)]),
    ("TrainingInfoProto", &[(1, Some(3)), (2, Some(3)), (3, Some(16)), (4, Some(16))]),
    ("TypeProto", &[(1, Some(29)), (4, Some(27)), (5, Some(24)), (6, None), (7, Some(25)), (8, Some(28)), (9, Some(26))]),
    ("TypeProto.Map", &[(1, None), (2, Some(23))]),
    ("TypeProto.Opaque", &[(1, None), (2, None)]),
    ("TypeProto.Optional", &[(1, Some(23))]),
    ("TypeProto.Sequence", &[(1, Some(23))]),
    ("TypeProto.SparseTensor", &[(1, None), (2, Some(20))]),
    ("TypeProto.Tensor", &[(1, None), (2, Some(20))]),
    ("ValueInfoProto", &[(1, None), (2, Some(23)), (3, None), (4, Some(16))]),
];
