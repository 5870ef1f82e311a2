import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;

/** Reads an archive with pgjdbc. URL and RUNLOG_TOKEN name the service. See `run`. */
public final class Check {
    private static void expect(Object found, Object expected, String what) {
        if (!found.equals(expected)) {
            throw new IllegalStateException(what + ": " + found + ", and not " + expected);
        }
    }

    private static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> values = new ArrayList<>();
        while (rows.next()) {
            values.add(rows.getString(name));
        }
        return values;
    }

    public static void main(String[] arguments) throws SQLException {
        try (Connection connection = DriverManager.getConnection(System.getenv("URL"), "reader", System.getenv("RUNLOG_TOKEN"))) {
            DatabaseMetaData about = connection.getMetaData();
            List<String> tables = column(about.getTables(null, "public", "%", new String[] {"TABLE"}), "TABLE_NAME");
            expect(tables.toString(), "[component_metrics, deliveries, plan_executions, plan_steps, problems, records, runs, tasks, tenant_audit_logs]", "tables");
            expect(column(about.getColumns(null, "public", "runs", "run_id"), "TYPE_NAME").toString(), "[text]", "columns");
            expect(column(about.getSchemas(), "TABLE_SCHEM").contains("public"), true, "schemas");
            expect(column(about.getPrimaryKeys(null, "public", "runs"), "COLUMN_NAME").size(), 0, "primary keys");
            expect(column(about.getImportedKeys(null, "public", "runs"), "FKCOLUMN_NAME").size(), 0, "foreign keys");
            expect(column(about.getIndexInfo(null, "public", "runs", false, true), "COLUMN_NAME").size(), 0, "indexes");
            connection.setReadOnly(true);
            connection.setAutoCommit(false);
            String query = "SELECT arrival, time FROM records WHERE severity = ? AND arrival < ? ORDER BY arrival";
            // The driver prepares a statement on the server, and asks for binary values, when it is used again.
            for (int round = 0; round < 7; round++) {
                try (PreparedStatement statement = connection.prepareStatement(query)) {
                    statement.setString(1, "ERROR");
                    statement.setLong(2, 1_000);
                    statement.setFetchSize(30);
                    int rows = 0;
                    try (ResultSet found = statement.executeQuery()) {
                        while (found.next()) {
                            expect(found.getLong(1), 10L * rows, "a row");
                            expect(found.getTimestamp(2).getTime(), 10_000L * rows, "a time");
                            rows++;
                        }
                    }
                    expect(rows, 100, "rows");
                }
            }
            connection.commit();
            try (Statement statement = connection.createStatement()) {
                statement.executeUpdate("DELETE FROM runs");
                throw new IllegalStateException("runs were deleted");
            } catch (SQLException error) {
                expect(error.getSQLState(), "25006", "the code of the error");
            }
        }
    }
}
