// Parquet's footer and page header, as far as files have them that pyarrow and this project write. Numbers of
// fields are those of the format (https://parquet.apache.org/docs/file-format/metadata/); enumerations are numbers.

struct Nothing {}

union TimeUnit {1: Nothing MILLIS; 2: Nothing MICROS; 3: Nothing NANOS}
struct DecimalType {1: required i32 scale; 2: required i32 precision}
struct TimeType {1: required bool isAdjustedToUTC; 2: required TimeUnit unit}
struct IntType {1: required i8 bitWidth; 2: required bool isSigned}
union LogicalType {
  1: Nothing STRING; 2: Nothing MAP; 3: Nothing LIST; 4: Nothing ENUM; 5: DecimalType DECIMAL; 6: Nothing DATE
  7: TimeType TIME; 8: TimeType TIMESTAMP; 10: IntType INTEGER; 11: Nothing UNKNOWN; 12: Nothing JSON
  13: Nothing BSON; 14: Nothing UUID; 15: Nothing FLOAT16
}
union ColumnOrder {1: Nothing TYPE_ORDER}

struct SchemaElement {
  1: optional i32 type; 2: optional i32 type_length; 3: optional i32 repetition_type; 4: required string name
  5: optional i32 num_children; 6: optional i32 converted_type; 7: optional i32 scale; 8: optional i32 precision
  9: optional i32 field_id; 10: optional LogicalType logicalType
}

struct KeyValue {1: required binary key; 2: optional binary value}

struct Statistics {
  1: optional binary max; 2: optional binary min; 3: optional i64 null_count; 4: optional i64 distinct_count
  5: optional binary max_value; 6: optional binary min_value
  7: optional bool is_max_value_exact; 8: optional bool is_min_value_exact
}
struct SizeStatistics {
  1: optional i64 unencoded_byte_array_data_bytes
  2: optional list<i64> repetition_level_histogram; 3: optional list<i64> definition_level_histogram
}
struct PageEncodingStats {1: required i32 page_type; 2: required i32 encoding; 3: required i32 count}

struct ColumnMetaData {
  1: required i32 type; 2: required list<i32> encodings; 3: required list<string> path_in_schema
  4: required i32 codec; 5: required i64 num_values
  6: required i64 total_uncompressed_size; 7: required i64 total_compressed_size
  8: optional list<KeyValue> key_value_metadata
  9: required i64 data_page_offset; 10: optional i64 index_page_offset; 11: optional i64 dictionary_page_offset
  12: optional Statistics statistics; 13: optional list<PageEncodingStats> encoding_stats
  14: optional i64 bloom_filter_offset; 15: optional i32 bloom_filter_length
  16: optional SizeStatistics size_statistics
}

struct ColumnChunk {
  1: optional string file_path; 2: required i64 file_offset; 3: optional ColumnMetaData meta_data
  4: optional i64 offset_index_offset; 5: optional i32 offset_index_length
  6: optional i64 column_index_offset; 7: optional i32 column_index_length
}

struct SortingColumn {1: required i32 column_idx; 2: required bool descending; 3: required bool nulls_first}

struct RowGroup {
  1: required list<ColumnChunk> columns; 2: required i64 total_byte_size; 3: required i64 num_rows
  4: optional list<SortingColumn> sorting_columns; 5: optional i64 file_offset
  6: optional i64 total_compressed_size; 7: optional i16 ordinal
}

struct FileMetaData {
  1: required i32 version; 2: required list<SchemaElement> schema; 3: required i64 num_rows
  4: required list<RowGroup> row_groups; 5: optional list<KeyValue> key_value_metadata
  6: optional string created_by; 7: optional list<ColumnOrder> column_orders
}

struct DataPageHeader {
  1: required i32 num_values; 2: required i32 encoding; 3: required i32 definition_level_encoding
  4: required i32 repetition_level_encoding
}
struct PageHeader {
  1: required i32 type; 2: required i32 uncompressed_page_size; 3: required i32 compressed_page_size
  5: optional DataPageHeader data_page_header
}
