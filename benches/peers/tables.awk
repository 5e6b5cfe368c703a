# Prints the results of run.sh (table, row, column, value) as tables of medians, after their spread.
{
    key = $1 FS $2 FS $3
    if (!($1 in count_rows)) tables[++count_tables] = $1
    if (!(($1, $2) in seen_row)) { seen_row[$1, $2]; rows[$1, ++count_rows[$1]] = $2 }
    if (!(($1, $3) in seen_column)) { seen_column[$1, $3]; columns[$1, ++count_columns[$1]] = $3 }
    if (!(key in n)) keys[++count_keys] = key
    if ($4 != "-") value[key, ++n[key]] = $4; else n[key] += 0
}
function sort(list, count,   i, j, t) {
    for (i = 2; i <= count; i++)
        for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
}
function middle(list, count) {
    return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
}
function digits(v) { return sprintf(v >= 100 ? "%.0f" : v >= 10 ? "%.1f" : "%.2f", v) }
function cell(table, row, column,   key) {
    key = table FS row FS column
    return key in median ? digits(median[key]) : ""
}
function ratio(row, column,   own, other) {
    own = "cost" FS row FS "linkseal"; other = "cost" FS row FS column
    return own in median && other in median && median[other] > 0 ? sprintf("%.2f", median[own] / median[other]) : ""
}
END {
    for (k = 1; k <= count_keys; k++) {
        key = keys[k]
        if (n[key] == 0) continue
        for (i = 1; i <= n[key]; i++) list[i] = value[key, i] + 0
        sort(list, n[key])
        median[key] = middle(list, n[key])
        if (key ~ /^cost/ && n[key] > 1 && median[key] > 0) spread[++count_spread] = (list[n[key]] - list[1]) / median[key]
    }
    if (count_spread > 0) {
        sort(spread, count_spread)
        printf "; spread of a cell (largest − smallest, of its median): %.0f %% in the median, %.0f %% at most",
            100 * middle(spread, count_spread), 100 * spread[count_spread]
    }
    print "."
    for (t = 1; t <= count_tables; t++) {
        table = tables[t]
        head = table == "tail" ? "full handshake + open, 2 clients, ms" : "CPU of the server per operation, unless said otherwise"
        line = "|---|"
        printf "\n| %s |", head
        for (c = 1; c <= count_columns[table]; c++) { printf " %s |", columns[table, c]; line = line "---|" }
        if (table == "cost") { printf " linkseal ÷ bare | ÷ nginx+log |"; line = line "---|---|" }
        print "\n" line
        for (r = 1; r <= count_rows[table]; r++) {
            row = rows[table, r]
            printf "| %s |", row
            for (c = 1; c <= count_columns[table]; c++) printf " %s |", cell(table, row, columns[table, c])
            if (table == "cost") printf " %s | %s |", ratio(row, "bare"), ratio(row, "nginx+log")
            print ""
        }
    }
}
