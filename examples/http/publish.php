#!/usr/bin/env php
<?php
// Publish a receipt for an order over HTTP: publish.php ORDER. Prints what became of the job.

declare(strict_types=1);

const ATTEMPTS = 6;

/** Publish a job once, however often it is called with this key within a day. */
function publish(array $job, string $key): array
{
    $headers = ['Content-Type: application/json', "Idempotency-Key: $key"];
    $token = (string) getenv('WARREN_API_TOKEN');
    if ($token !== '') {
        $headers[] = "Authorization: Bearer $token";
    }
    $context = stream_context_create(['http' => [
        'method' => 'POST', 'header' => $headers, 'content' => json_encode($job, JSON_THROW_ON_ERROR),
        'timeout' => 15, 'ignore_errors' => true, 'follow_location' => 0,
    ]]);
    $url = (getenv('WARREN_URL') ?: 'http://127.0.0.1:8080') . '/api/v1/jobs';
    for ($attempt = 1; ; $attempt++) {
        $http_response_header = [];
        $text = @file_get_contents($url, false, $context);
        $lines = function_exists('http_get_last_response_headers') ? http_get_last_response_headers() ?? [] : $http_response_header;
        $status = preg_match('#^HTTP/\S+ (\d+)#', $lines[0] ?? '', $found) ? (int) $found[1] : 0;
        $answer = json_decode((string) $text, true);
        if ($status === 201 && is_array($answer)) {
            return $answer;
        }
        $reason = $answer['detail'] ?? ($status ? "status $status" : 'no answer');
        // What is wrong with the job itself stays wrong. Anything else may have been carried out or
        // not: the key makes another attempt safe.
        if ($attempt === ATTEMPTS || $status >= 400 && $status < 500 && $status !== 429) {
            throw new RuntimeException($reason);
        }
        $wait = 0.2 * 2 ** $attempt * random_int(50, 100) / 100;
        foreach ($lines as $line) {
            if (preg_match('/^Retry-After: (\d+)$/i', $line, $found)) {
                $wait = max($wait, (int) $found[1]);
            }
        }
        usleep((int) ($wait * 1e6));
    }
}

$order = $argv[1] ?? '';
if ($argc !== 2 || !ctype_digit($order)) {
    fwrite(STDERR, "usage: publish.php ORDER\n");
    exit(2);
}
try {
    $done = publish(['kind' => 'receipt', 'args' => ['order' => (int) $order]], "receipt-$order");
} catch (RuntimeException $error) {
    fwrite(STDERR, "publish.php: order $order has no receipt yet: {$error->getMessage()}\n");
    exit(1);
}
echo json_encode($done), "\n";
